"""The images and the compose file: linted, and their commands run without a container engine."""

import re
import shlex
import subprocess
import sys
import time
import tomllib
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SIDES = ("cloud", "edge")
ANSWERED = re.compile(r'^cutlayer_requests_total\{code="OK"\} [1-9]', re.M)
SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def linted(program, *words):
    if not (BIN / program).exists():
        pytest.skip(f"{program} has no package for this machine")
    done = subprocess.run([BIN / program, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def extras(*wanted):
    """The packages that these extras of cutlayer install, without those that they need in turn."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for requirement in (entry for extra in wanted for entry in table[extra]):
        own = re.fullmatch(r"cutlayer\[(.*)\]", requirement)
        yield from extras(*own[1].split(",")) if own else [re.split(r"[<>=]", requirement)[0]]


@pytest.mark.parametrize("side", SIDES)
def test_the_recipe_of_an_image_is_clean(side):
    linted("hadolint", f"{side}/Dockerfile")


def test_the_compose_file_follows_its_schema():
    linted("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")


@pytest.mark.parametrize("side", SIDES)
def test_an_image_is_slim_runs_without_privileges_and_says_how_it_is(side):
    recipe = (ROOT / side / "Dockerfile").read_text()
    last = recipe.rpartition("\nFROM ")[2]
    assert re.match(r"python:3\.\d+-slim\n", last)
    assert re.search(r"^USER [1-9]\d+$", last, re.M)
    assert "\nHEALTHCHECK " in last
    (asked,) = re.findall(r"ARG EXTRAS=(\S+)", recipe) or re.findall(r'"\$\{1\}\[(\S+)\]"', recipe)
    assert "torch" not in set(extras(*asked.split(",")))
    assert "onnxruntime" in set(extras(*asked.split(",")))


def health_check(side):
    """The words of the health check of an image."""
    recipe = (ROOT / side / "Dockerfile").read_text().replace("\\\n", "")
    (words,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", recipe, re.M)
    return yaml.safe_load(words)


def mapped(text, places):
    """The text with each folder or address of a container replaced by the one here."""
    there = "|".join(map(re.escape, places))
    return re.sub(rf"({there})(?![\w-])", lambda found: str(places[found[1]]), text)


@contextmanager
def started(service, places):
    """The process of a service, with the folders of its container at other places."""
    words = shlex.split(mapped(SERVICES[service]["command"], places))
    process = subprocess.Popen(
        [sys.executable, "-m", "cutlayer.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        out, error = process.communicate(timeout=30)
        assert process.returncode == 0 or (service == "edge" and process.returncode == 143), out + error


def test_the_services_make_keys_find_each_other_over_tls_and_are_healthy(folder, tmp_path):
    server, device, queue = (tmp_path / name for name in ("server", "device", "queue"))
    device.mkdir()
    (script,) = SERVICES["keys"]["command"]
    cutlayer = f"{sys.executable} -m cutlayer.cli"
    making = mapped(script, {"/keys": server, "/device-keys": device}).replace("cutlayer certs", f"{cutlayer} certs")
    for _ in range(2):  # a second start keeps the keys of the first
        subprocess.run([*SERVICES["keys"]["entrypoint"], making], check=True, capture_output=True)
    assert sorted(path.name for path in device.iterdir()) == ["ca.pem", "client.key", "client.pem"]
    assert (server / "client.key").read_bytes() == (device / "client.key").read_bytes()

    shared = {"/split": folder, "0.0.0.0:8001": "127.0.0.1:0", "127.0.0.1:9100": "127.0.0.1:0"}
    with started("cloud", {**shared, "/keys": server}) as cloud:
        ready = cloud.stdout.readline()
        address, page = re.fullmatch(r"ready grpc://(\S+) .*metrics=(\S+)/metrics\n", ready).groups()
        probe = health_check("cloud")
        assert probe[:2] == ["python", "-c"]
        exec(probe[2].replace("http://127.0.0.1:9100", page))
        places = {"/split": folder, "/keys": device, "/queue": queue, "cloud:8001": address}
        with started("edge", places):
            for _ in range(400):
                answered = urllib.request.urlopen(f"{page}/metrics", timeout=5).read().decode()
                if ANSWERED.search(answered):
                    break
                time.sleep(0.05)
        assert ANSWERED.search(answered), answered


def test_the_health_check_of_the_device(folder):
    program, *words = [str(folder) if word == "/split" else word for word in health_check("edge")]
    assert program == "cutlayer"
    checks = [sys.executable, "-m", "cutlayer.cli", *words]
    healthy = subprocess.run(checks, check=False)
    (folder / "head.onnx").write_bytes(b"")
    damaged = subprocess.run(checks, check=False)
    assert (healthy.returncode, damaged.returncode) == (0, 1)
