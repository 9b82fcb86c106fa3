"""The wheel: what is in it, and that it works in a folder whose names are those of the folders of the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import cutlayer

ROOT = Path(__file__).parents[2]
FOREIGN = ("attacks", "benchmarks", "cloud", "defenses", "edge", "experiments", "proto", "tests")
BUILD = "import sys, hatchling.build as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"
PLAN = """
data = "faces"
model = "he_lenet"
cut = "pool1"
training = {epochs = 1, images = 64}
measure = {count = 4, private = 4, auxiliary = 40, warmup = 1}
attack = [{name = "ridge"}]
"""


def build(kind, source, out):
    """Build with the backend of this environment, without network; the path of what was built."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{kind}", str(out)], cwd=source, capture_output=True, text=True, check=True
    )
    return out / done.stdout.split()[-1]


def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build("wheel", ROOT, tmp_path_factory.mktemp("dist"))


class Place(NamedTuple):
    """An environment with the wheel, and a folder of a user's own."""

    bin: Path
    folder: Path

    def run(self, *words, ok=True):
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "CUTLAYER_DATA")}
        done = subprocess.run(
            [self.bin / words[0], *words[1:]], cwd=self.folder, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done.stdout if ok else done.stderr


@pytest.fixture(scope="module")
def place(wheel, tmp_path_factory):
    """The wheel, installed beside the packages of this environment but without the checkout."""
    root = tmp_path_factory.mktemp("elsewhere")
    venv.create(root / "venv", with_pip=False, symlinks=True)
    interpreter = root / "venv/bin/python"
    install = [sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, wheel], check=True)
    (packages,) = (root / "venv/lib").glob("python*/site-packages")
    # A path in a .pth file is not searched for further .pth files, so an editable install has no effect.
    (packages / "beside.pth").write_text(sysconfig.get_path("purelib"))
    folder = root / "mine"
    for name in FOREIGN:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise RuntimeError('a folder of the user was imported')")
    (folder / "tiny.toml").write_text(PLAN)
    # The user's own repository, which has nothing to do with the code of cutlayer.
    git = ["git", "-c", "user.name=user", "-c", "user.email=user@localhost", "-C", root]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "mine"], check=True)
    return Place(root / "venv/bin", folder)


def test_the_wheel_has_one_package_with_everything_that_it_needs(wheel):
    packed = names(wheel)
    assert {name.partition("/")[0] for name in packed} == {"cutlayer", f"cutlayer-{cutlayer.__version__}.dist-info"}
    package = ROOT / "cutlayer"
    # What git keeps, with what is behind the links, without the recipes of images.
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    kept = [name for name in listed if not name.endswith("Dockerfile")]
    links = {p.resolve().relative_to(ROOT): p.relative_to(ROOT) for p in package.iterdir() if p.is_symlink()}
    expected = {name for name in kept if name.startswith("cutlayer/") and not (ROOT / name).is_symlink()}
    expected |= {
        str(links[Path(top)] / rest)
        for top, _, rest in (name.partition("/") for name in kept)
        if rest and Path(top) in links
    }
    assert {name for name in packed if name.startswith("cutlayer/")} == expected
    assert "cutlayer/py.typed" in packed


def test_the_source_distribution_builds_the_same_wheel(wheel, tmp_path):
    source = build("sdist", ROOT, tmp_path)
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    again = build("wheel", tmp_path / source.name.removesuffix(".tar.gz"), tmp_path)
    assert names(again) == names(wheel)


def test_an_installed_wheel_beside_folders_of_the_same_names(place):
    assert place.run("cutlayer", "--version").split() == ["cutlayer", cutlayer.__version__]
    found = place.run(
        "python", "-c", "import cutlayer.attacks.view as v, cutlayer; print(cutlayer.__file__, v.__file__)"
    )
    assert all(path.startswith(str(place.bin.parent)) for path in found.split()), found
    examples = place.run("cutlayer", "list", "examples")
    assert {path.stem for path in (ROOT / "experiments").glob("*.toml")} <= set(examples.split())
    # Its server and its device are processes of their own, which start in the folder of the user.
    assert "ridge" in place.run("cutlayer", "run", "tiny.toml")
    (environment,) = (place.folder / "runs").glob("*/env.json")
    assert json.loads(environment.read_text())["commit"] is None


def test_an_installed_wheel_runs_an_example_and_says_what_its_data_set_lacks(place):
    said = place.run("cutlayer", "run", "--example", "he2019-mnist", ok=False)
    assert "mnist" in said.lower()
    assert "Traceback" not in said
