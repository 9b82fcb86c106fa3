"""The checks of the device itself: a test provokes each finding, which must give advice."""

import datetime
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from cutlayer.doctor import examine, files, machine, packages
from cutlayer.machine.cgroup import Quota
from cutlayer.models.manifest import sha256
from cutlayer.split_folder import open_split
from cutlayer.wire.security import Security
from tests.doctor.findings import faults, only

ROOT = Path(__file__).parents[2]
YEAR = datetime.timedelta(days=365)


def test_a_split_that_runs(folder):
    assert not faults(files.check_split(folder))


def test_a_split_that_is_damaged_or_lies(folder):
    manifest = open_split(folder).manifest
    (folder / "head.onnx").write_bytes(b"oops")
    assert "head.onnx" in only(files.check_split(folder))
    head = onnx.load(folder / "tail.onnx")
    head.graph.input[0].name = head.graph.node[0].input[0] = "image"
    head.graph.output[0].name = head.graph.node[-1].output[0] = "smashed"
    onnx.save(head, str(folder / "head.onnx"))
    manifest.files["head.onnx"] = sha256(folder / "head.onnx")
    manifest.save(folder)
    assert faults(files.check_split(folder))
    assert "cutlayer split" in only(files.check_split(folder.parent))


def client(keys, **others):
    return Security(**{"ca": keys / "ca.pem", "cert": keys / "client.pem", "key": keys / "client.key", **others})


def test_keys_as_they_were_made_have_no_faults(keys):
    assert not faults(files.check_security(client(keys, token_file=keys / "token")))
    curve = Security(curve_key=keys / "curve-client.key", curve_server=keys / "curve-server.pub")
    assert not faults(files.check_security(curve))


def test_a_secret_that_others_may_read(keys):
    (keys / "client.key").chmod(0o640)
    assert f"chmod 600 {keys / 'client.key'}" in only(files.check_security(client(keys)))


def test_a_file_that_is_not_there(keys):
    first, *_ = faults(files.check_security(client(keys, ca=keys / "absent.pem")))
    assert "no such file" in str(first)


@pytest.mark.parametrize("name", ["token_file", "curve_key"])
def test_a_file_that_holds_something_else(keys, name):
    (keys / "junk").write_text("")
    (keys / "junk").chmod(0o600)
    assert "junk" in only(files.check_security(Security(**{name: keys / "junk"})))


def test_a_key_of_another_certificate(keys):
    assert "is not the private key" in only(files.check_security(client(keys, key=keys / "server.key")))


@pytest.mark.parametrize(
    ("later", "status", "sentence"),
    [
        (-YEAR, "fault", "clock"),
        (YEAR, "ok", "valid until"),
        (800 * YEAR / 365, "note", "days"),
        (3 * YEAR, "fault", "expired"),
    ],
)
def test_dates_of_a_certificate(keys, later, status, sentence):
    now = datetime.datetime.now(datetime.UTC) + later
    finding = files._dates(keys / "client.pem", now)
    assert finding.status == status
    assert sentence in str(finding)


def test_packages_of_this_environment_have_no_faults():
    *_, last = found = list(packages.check_packages())
    assert not faults(found)
    names = [package.split()[0] for package in last.says.split(", ")]
    assert "onnxruntime" in names
    assert len(names) == len(set(names)), "a package of two extras is listed twice"


def test_a_package_that_is_missing_or_old(monkeypatch):
    assert "pip install 'cutlayer[onnx]'" in packages._package("no-such-package", "1.0", "onnx", None).do
    assert packages._package("no-such-package", "1.0", "zstd", None).status == "note"
    monkeypatch.setattr(metadata, "version", lambda name: "1.9.9")
    assert packages._package("any", "1.10", None, None).status == "fault"
    assert packages._package("any", "1.9", None, None).status == "ok"


def declared():
    """The requirements in pyproject.toml, as an installed package shows them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].items()
    return project["dependencies"] + [f"{each}; extra == '{name}'" for name, wanted in extras for each in wanted]


def bounds():
    """The least version of each package that a device may need."""
    rows = [packages._REQUIREMENT.fullmatch(each) for each in declared()]
    return {row[1]: row[2] for row in rows if row and row[3] in (None, *packages._EXTRAS)}


@pytest.mark.parametrize(("name", "least"), bounds().items())
def test_a_package_below_its_bound_is_named_with_what_is_needed(name, least, monkeypatch):
    head, last = re.fullmatch(r"(.*?)(\d+)(?:\.0)*", least).groups()
    below = f"{head}{int(last) - 1}.99"
    monkeypatch.setattr(metadata, "requires", lambda _: declared())
    monkeypatch.setattr(metadata, "version", lambda asked: below if asked == name else "999")
    (finding,) = packages.unfit_packages()
    assert finding.says == f"{name} is {below}, but at least {least} is needed"
    assert finding.do == f"pip install '{name}>={least}'"


@pytest.fixture
def ruined(tmp_path):
    """An environment in which no package can be imported that the command line or the wire needs."""
    for module, name in (("tyro", "tyro"), ("grpc", "grpcio"), ("zmq", "pyzmq"), ("google", "protobuf")):
        (tmp_path / f"{module}.py").write_text("raise ImportError('ruined')")
        (tmp_path / f"{name}-0.1.dist-info").mkdir()
        (tmp_path / f"{name}-0.1.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: 0.1\n")
    return {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}


def test_the_doctor_starts_without_the_packages_that_it_finds_too_old(ruined):
    done = cutlayer(env=ruined)
    assert done.returncode == 1, done.stderr
    for name in ("tyro", "grpcio", "pyzmq", "protobuf"):
        assert f"fault packages      {name} is 0.1, but at least " in done.stdout
        assert f"-> pip install '{name}>=" in done.stdout
    other = subprocess.run(
        [sys.executable, "-m", "cutlayer.cli", "edge", "x"], env=ruined, capture_output=True, text=True, check=False
    )
    assert other.returncode == 2
    assert re.match("cutlayer: This command cannot run here: .*tyro is 0.1, but at least", other.stderr)
    assert len(other.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("code", "sentence"),
    [("import os; os.kill(os.getpid(), 4)", "SIGILL"), ("import nonsense_without_a_name", "nonsense_without_a_name")],
)
def test_a_package_that_cannot_be_loaded(code, sentence):
    loading = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    finding = packages._package("numpy", "1", None, loading)
    assert finding.status == "fault"
    assert sentence in finding.says


def test_the_rest_waits_for_packages(monkeypatch):
    monkeypatch.setattr(
        examine, "check_packages", lambda: iter([packages.fault("packages", "numpy is missing", "get it")])
    )
    findings = list(examine.examine(None, "nonsense", Security()))
    assert [finding.status for finding in findings] == ["fault", "note"]


def test_limits_of_this_machine(monkeypatch, tmp_path):
    def check(what):
        return next(finding for finding in machine.check_machine(tmp_path) if finding.what == what)

    assert "MiB free" in check("disk").says
    monkeypatch.setattr(machine, "quota_in_force", lambda: Quota(0.2, "cpu.max", 0, 0, 0))
    (tmp_path / "memory.max").write_text(str(1 << 20))
    monkeypatch.setattr(machine, "_cgroup", lambda: tmp_path)
    notes = [str(finding) for finding in machine.check_machine(tmp_path) if finding.status == "note"]
    assert any("0.20 of a core" in text for text in notes)
    assert check("memory").status == "fault"
    monkeypatch.setattr(machine, "LEAST_DISK_BYTES", 1 << 62)
    assert check("disk").status == "fault"
    monkeypatch.setattr(machine.time, "time", lambda: 0.0)
    assert check("date").status == "fault"


def test_a_clock_and_a_governor_that_cost_time(monkeypatch, tmp_path):
    for name, path, text in (("_CLOCK", tmp_path / "clock", "hpet\n"), ("_GOVERNOR", tmp_path / "gov", "powersave\n")):
        path.write_text(text)
        monkeypatch.setattr(machine, name, path)
    notes = {finding.do for finding in machine.check_machine(tmp_path) if finding.status == "note"}
    assert any("clocksource=tsc" in do for do in notes)
    assert any("cpupower frequency-set" in do for do in notes)


def test_a_disk_that_is_small_or_somebody_elses(monkeypatch, tmp_path):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: SimpleNamespace(free=100 << 20))
    assert "--queue-mib of less than 100" in only([machine._disk(tmp_path)], "note")
    monkeypatch.setattr(machine.os, "access", lambda path, mode: False)
    assert "which cannot be written" in only([machine._disk(tmp_path)], "note")


def test_a_python_that_is_old_or_of_32_bits(monkeypatch):
    monkeypatch.setattr(packages.struct, "calcsize", lambda code: 4)
    assert "64-bit system" in only([packages._python()])
    monkeypatch.setattr(packages, "LEAST_PYTHON", (9, 9))
    assert "install Python 9.9" in only([packages._python()])


def test_files_that_hold_no_certificate_or_are_not_ours_to_read(keys, monkeypatch):
    (keys / "ca.pem").write_text("hello")
    assert "holds no certificate" in only(files.check_security(Security(ca=keys / "ca.pem")))
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    assert "chown" in str(next(files.check_security(Security(ca=keys / "ca.pem"))))


def test_a_clock_that_stands_still(monkeypatch):
    ticks = iter(np.repeat(np.arange(100), 20) * 4_000_000)
    monkeypatch.setattr(machine.time, "monotonic_ns", lambda: int(next(ticks)))
    assert machine._clock().status == "fault"


def cutlayer(*words, **options):
    command = [sys.executable, "-m", "cutlayer.cli", "doctor", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_exit_code_1_with_a_fault(tmp_path):
    done = cutlayer(tmp_path)
    assert done.returncode == 1, done.stderr
    assert "fault split" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("faults: ")


@pytest.mark.parametrize("words", [["--connect", "inprocess://me"], ["--connect", "grpc://192.0.2.1:1"]])
def test_exit_code_2_for_an_unusable_address(words):
    done = cutlayer(*words)
    assert done.returncode == 2, done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
