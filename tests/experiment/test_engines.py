"""What every engine does: it runs each task once, in order, and survives those that fail or die."""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from cutlayer.errors import EXTRAS, ConfigError, Unreachable
from cutlayer.experiment.engines.base import Task
from cutlayer.registry import ENGINES

ROOT = Path(__file__).parents[2]
TASKS = "tests.experiment.tasks"


class Row(NamedTuple):
    """An engine, its options for tests, and the package that it needs."""

    name: str
    options: dict[str, Any]
    package: str = ""


ROWS = [
    Row("local", {}),
    Row("ray", {"retries": 0}, "ray"),
    Row("slurm", {}, "submitit"),
]


def made(row, **options):
    if row.package:
        pytest.importorskip(row.package)
    return ENGINES.make(row.name, **row.options, **options)


def task(key, function, *after, **arguments):
    return Task(key, f"{TASKS}:{function}", arguments, after)


@pytest.fixture(autouse=True, scope="module")
def importable():
    """The processes of every engine find the functions of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])))
        yield


@pytest.fixture(scope="module", params=ROWS, ids=lambda row: row.name)
def ran(request, tmp_path_factory):
    """The outcomes of tasks of all kinds, by key, and the process of one that would have run forever."""
    folder = tmp_path_factory.mktemp(request.param.name)
    path, pid = str(folder / "written"), folder / "pid"
    tasks = [
        task("write", "write", path=path, text="hello"),
        task("read", "read", "write", path=path),
        task("again", "read", "write", "read", path=path),
        task("fail", "fail"),
        task("needs fail", "read", "write", "fail", path=path),
        task("needs that", "read", "needs fail", path=path),
        task("stumble", "stumble"),
        task("die", "die"),
        task("needs die", "read", "die", path=path),
        task("threads", "threads"),
    ]
    engine = made(request.param, workers=2, cpus=3)
    engine = made(request.param, workers=2, cpus=3)
    several = engine.places() > 1
    # It has one of two places from the beginning; what is last may not have begun when the others are done.
    endless = [task("endless", "wait_forever", path=str(pid))] if several else []
    running = engine.run([*endless, *tasks], folder / "work")
    found = list(itertools.islice(running, len(tasks)))
    assert sorted(outcome.key for outcome in found) == sorted(one.key for one in tasks)
    if several:
        until(pid.exists)
    running.close()
    return {outcome.key: outcome for outcome in found}, int(pid.read_text()) if several else None


@pytest.fixture
def outcomes(ran):
    return ran[0]


def test_a_task_begins_when_those_before_it_are_done(outcomes):
    for key in ("write", "read", "again"):
        assert (outcomes[key].value, outcomes[key].error) == ("hello", "")
        assert outcomes[key].seconds > 0


def test_a_task_that_fails_says_why_and_where(outcomes):
    assert outcomes["fail"].error == "The sigma must be a number."
    assert "tasks.py" in outcomes["fail"].traceback
    assert outcomes["stumble"].error == "ZeroDivisionError: division by zero"
    assert outcomes["stumble"].traceback.rstrip().endswith("division by zero")


def test_what_needs_a_task_that_failed_is_not_run(outcomes):
    assert outcomes["needs fail"].error == "fail failed, which it needs: The sigma must be a number."
    assert outcomes["needs that"].error.startswith("needs fail failed, which it needs: ")
    assert outcomes["needs die"].error.startswith("die failed, which it needs: ")
    assert not outcomes["needs fail"].seconds


def test_a_process_that_dies_is_told_and_takes_no_other_task_with_it(outcomes):
    assert "ended" in outcomes["die"].error


def test_the_processes_of_tasks_have_as_many_threads_as_cores_were_asked_for(outcomes):
    assert outcomes["threads"].value == "3"


def test_what_runs_is_ended_when_nobody_wants_the_outcomes_any_more(ran):
    endless = ran[1]
    until(lambda: endless is None or not alive(endless))


PROGRESS = f"""
from pathlib import Path
from cutlayer.experiment.engines.base import Task
from cutlayer.registry import ENGINES

if __name__ == "__main__":
    (outcome,) = ENGINES.make("local").run([Task("bar", "{TASKS}:show_progress", {{}}, ())], Path("work"))
    print(outcome.value)
"""


def test_a_process_of_this_machine_leaves_no_semaphore_of_a_progress_bar(tmp_path):
    pytest.importorskip("tqdm")
    script = tmp_path / "progress.py"  # a file, which the processes of the engine can import
    script.write_text(PROGRESS)
    ended = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("3\n", "")


def until(true):
    """Wait for what must become true."""
    give_up_s = time.monotonic() + 60
    while not true():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


def alive(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_engine_that_is_not_installed_says_which_extra_has_it(row, monkeypatch):
    if not row.package:
        return
    monkeypatch.setitem(sys.modules, row.package, None)
    extra = EXTRAS[row.package]
    with pytest.raises(ConfigError, match=rf"{row.package} is not installed; install cutlayer\[{extra}\]"):
        ENGINES.make(row.name)


@pytest.mark.parametrize("listens", [False, True])
def test_an_address_at_which_no_ray_answers_is_refused_at_once(listens, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr("cutlayer.experiment.engines.ray.ANSWER_S", 0.5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Unreachable, match=rf"No Ray answers at {address} .*`ray start --head` runs there"):
            next(ENGINES.make("ray", address=address).run([task("threads", "threads")], tmp_path))


@pytest.mark.parametrize("address", ["head", "head:port", "grpc://head"])
def test_what_is_no_address_of_a_ray_is_refused(address, tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match=f"--address takes HOST:PORT of a Ray cluster.*{address}"):
        next(ENGINES.make("ray", address=address).run([task("threads", "threads")], tmp_path))


def test_an_engine_refuses_what_it_has_no_option_for():
    with pytest.raises(ConfigError, match="The engine 'local' has no option 'address'"):
        ENGINES.make("local", address="head:6379")
    with pytest.raises(ConfigError, match=r"local\.cpus must be 1 to 1,024; 0 was given"):
        ENGINES.make("local", cpus=0)
