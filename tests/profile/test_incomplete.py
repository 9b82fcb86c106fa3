"""What was measured before an error or Ctrl-C is printed, and written to files that say that they are incomplete."""

import os
import signal
import subprocess
import sys

import pytest

from cutlayer.errors import Unreachable
from cutlayer.profile import emulated
from cutlayer.profile.compare import invalid
from cutlayer.profile.plan import Plan, Settings
from cutlayer.profile.run import run_plan
from cutlayer.records.profile import Limits
from cutlayer.records.profile_files import read
from tests.edge_process import heeds_ctrl_c
from tests.profile.profiled import QUICK

SETTINGS = Settings(("raw",), samples=90, seconds=0.1)
NONE = Limits(None, None, None)


def fails_at(monkeypatch, place, error):
    measure, calls = emulated.measure_cut, []

    def failing(*arguments):
        calls.append(None)
        if len(calls) == place:
            raise error
        return measure(*arguments)

    monkeypatch.setattr(emulated, "measure_cut", failing)


def test_an_error_in_a_cut_leaves_the_cuts_before_it(model, tmp_path, monkeypatch):
    error, reason = ZeroDivisionError("by 0"), "It failed: ZeroDivisionError: by 0; 1 of 2 cuts had been measured"
    fails_at(monkeypatch, 2, error)
    shown = []
    with pytest.raises(type(error)):
        run_plan(Plan(str(model), ("r1", "flat")), SETTINGS, NONE, tmp_path, lambda _: None, shown.append)
    (profile,) = shown
    assert profile == read(tmp_path)
    assert profile.verdict == "INCOMPLETE"
    assert profile.reasons[0].startswith(reason)
    (cut,) = profile.cuts
    assert cut.head_ns.n >= 90
    assert cut.networks["wifi"]["raw"].source == "model"
    assert "INCOMPLETE" in (tmp_path / "profile.html").read_text()
    assert "INCOMPLETE: It" in invalid(profile, "first")


def test_an_error_through_a_network_leaves_all_cuts(model, tmp_path, monkeypatch):
    def points(*_):
        raise Unreachable("The relay is gone.")

    monkeypatch.setattr(emulated, "measure_points", points)
    shown = []
    with pytest.raises(Unreachable):
        run_plan(Plan(str(model), ("r1", "flat")), SETTINGS, NONE, tmp_path, lambda _: None, shown.append)
    assert shown[0].local_ns is not None
    assert shown[0].reasons[0] == "It failed: The relay is gone; 2 of 2 cuts had been measured until then."
    assert len(read(tmp_path).cuts) == 2


def test_nothing_is_written_where_nothing_was_measured(model, tmp_path, monkeypatch):
    fails_at(monkeypatch, 1, Unreachable("gone"))
    with pytest.raises(Unreachable):
        run_plan(Plan(str(model), ("r1",)), SETTINGS, NONE, tmp_path, lambda _: None, pytest.fail)
    assert not (tmp_path / "profile.json").exists()


def to_all(process):
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.parametrize(
    ("stop", "code", "name"), [(to_all, 130, "Ctrl-C"), (subprocess.Popen.terminate, 143, "SIGTERM")]
)
def test_a_stop_prints_the_rows_measured_so_far(model, tmp_path, stop, code, name):
    words = ["profile", model, *QUICK, "--cuts", "all", "--network", "loopback", "--out", tmp_path / "out"]
    command = [sys.executable, "-m", "cutlayer.cli", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # If it aborts, it says where each of its threads was.
    environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
    # Its own group, as in a terminal, where Ctrl-C reaches all processes of the profile.
    options = {"text": True, "start_new_session": True, "preexec_fn": heeds_ctrl_c, "env": environment}
    with subprocess.Popen(command, **options, **pipes) as running:
        said = []
        for line in running.stderr:
            said.append(line)
            if line.startswith("2 of "):
                stop(running)
        stdout = running.stdout.read()
    assert running.returncode == code, "".join(said)
    assert "INCOMPLETE" in stdout
    profile = read(tmp_path / "out")
    assert profile.reasons[0].startswith(f"It was stopped by {name}; ")
    cuts = profile.cuts
    assert 1 <= len(cuts) <= 2
    assert all(cut.cut in stdout for cut in cuts)
