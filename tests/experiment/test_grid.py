"""Grids: every engine finds the same figures; what fails is recorded; a killed grid goes on; sharing is planned."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cutlayer import cli
from cutlayer.errors import BusyError, CutlayerError, SplitError
from cutlayer.experiment import plan, victim
from cutlayer.experiment.engines.base import Engine, call
from cutlayer.experiment.engines.local import Local
from cutlayer.experiment.grid import planned, run_grid
from cutlayer.experiment.rehearsal import Part, told
from cutlayer.experiment.run import run_all
from cutlayer.records.failed import FAILED, read_failure
from cutlayer.registry import ENGINES
from tests.experiment.figures import figures
from tests.experiment.test_engines import alive, until

ROOT = Path(__file__).parents[2]
TINY = """
name = "tiny"
data = "digits"
model = "lenet"
cut = "conv1"
training = {epochs = 1, images = 64}
measure = {count = 4, private = 4, auxiliary = 64, warmup = 0}
attack = [{name = "mean-image"}, {name = "ridge"}]
"""
TWO = TINY + 'defense = [{name = "none"}, {name = "quantize", bits = 3}]\n'
"""No defense that draws at random: a device draws anew in every run."""
TEN = (
    TINY
    + """
seed = [0, 1]
[[defense]]
name = "none"
[[defense]]
name = "quantize"
bits = [4, 2]
epochs = 1
[[defense]]
name = "top-k"
sparsity = 0.8
[[defense]]
name = "nopeek"
epochs = 1
"""
)


def loaded(folder, text):
    path = folder / "plan.toml"
    path.write_text(text)
    return path, plan.load(path)


def ran(experiments, folder, engine, **options):
    """The lines that a grid says, its results and what failed."""
    said = []
    results, failed = run_grid(
        experiments, folder, engine, **{"resume": True, "data_root": None} | options, say=said.append
    )
    return said, results, failed


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The two experiments, run one after the other in this process, as `cutlayer run` does."""
    folder = tmp_path_factory.mktemp("alone")
    path, experiments = loaded(folder, TWO)
    run_all(experiments, folder / "runs", resume=True, data_root=None, say=lambda text: None)
    return path, experiments, folder / "runs"


@pytest.mark.parametrize(("engine", "package", "n"), [("ray", "ray", 2), ("slurm", "submitit", 1)])
def test_every_engine_finds_the_same_figures_as_a_run(engine, package, n, alone, tmp_path, monkeypatch):
    """The short form, beside the one that is killed; the slow form has ten experiments."""
    pytest.importorskip(package)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    _, experiments, runs = alone
    said, results, failed = ran(experiments[:n], tmp_path / "runs", ENGINES.make(engine, workers=2))
    assert failed == {}
    assert [result.id for result in results] == [experiment.id for experiment in experiments[:n]]
    for experiment in experiments[:n]:
        assert figures(tmp_path / "runs" / experiment.id) == figures(runs / experiment.id)
    assert len([line for line in said if "training shared by several" in line and ": done in" in line]) == n - 1
    for experiment in experiments[:n]:
        assert [line for line in said if f"{experiment.id[:8]}  {experiment}: " in line]
    assert f"[{n}/{n}] " in said[-2]
    assert ": done in" in said[-2]
    assert len([line for line in said if "There is no Slurm here" in line]) == (engine == "slurm")
    left = {path.name for path in (tmp_path / "runs").iterdir()}
    assert left == {"models", "index.sqlite", *(experiment.id for experiment in experiments[:n])}


class Here(Engine):
    """Runs tasks in this process, which has imported everything."""

    def run(self, tasks, work):
        yield from map(call, tasks)


class Unused(Engine):
    def run(self, tasks, work):
        assert not tasks
        yield from ()


def test_what_is_finished_is_not_run_again(alone):
    _, experiments, runs = alone
    said, results, failed = ran(experiments, runs, Unused())
    assert [result.id for result in results] == [experiment.id for experiment in experiments]
    assert (failed, said[-1]) == ({}, "2 experiments, 2 of them finished before")


class Interrupted(Engine):
    def run(self, tasks, work):
        yield from ()
        raise KeyboardInterrupt


def test_an_interrupt_says_how_far_it_has_come(alone, tmp_path):
    _, experiments, runs = alone
    shutil.copytree(runs, tmp_path / "runs")
    (tmp_path / "runs" / experiments[1].id / "result.json").unlink()
    said = []
    with pytest.raises(KeyboardInterrupt):
        run_grid(experiments, tmp_path / "runs", Interrupted(), resume=True, data_root=None, say=said.append)
    assert said[-1] == "stopped: 1 of 2 are finished; the same command goes on."


@pytest.mark.parametrize("words", [["run"], ["run", "--dry-run"], ["grid"], ["grid", "--dry-run"]], ids=" ".join)
def test_a_cut_that_one_model_lacks_is_found_before_anything_is_trained(words, tmp_path, capsys):
    text = TINY.replace('model = "lenet"', 'model = ["lenet", "convnet"]').replace("conv1", "pool1")
    path, experiments = loaded(tmp_path, text)
    refused = rf"plan.toml: convnet on digits: The model cannot be cut at '{experiments[0].cut}'"
    with pytest.raises(SplitError, match=refused):
        cli.app().cli(args=[*words, str(path), "--out", str(tmp_path / "runs")])
    assert not list(tmp_path.glob("runs/*/*"))
    assert "rehears" not in capsys.readouterr().err


def test_experiments_that_differ_in_their_codec_have_different_texts(tmp_path):
    _, experiments = loaded(tmp_path, TINY.replace("warmup = 0", 'warmup = 0, codec = ["raw", "int8"]'))
    assert [str(one) for one in experiments] == [
        "lenet at conv1 on digits, defense none",
        "lenet at conv1 on digits, codec int8, defense none",
    ]


def test_training_that_is_shared_is_one_task_before_those_that_need_it(tmp_path):
    _, experiments = loaded(tmp_path, TEN)
    roots = {"runs": str(tmp_path), "data_root": None, "threads": 1}
    tasks = list(planned(experiments, roots, None))
    models = [str(victim.cached(replace(experiments[0], seed=seed), tmp_path)) for seed in (0, 1)]
    longer = [str(victim.longer(Path(model), 1)) for model in models]
    assert [task.key for task in tasks] == [
        models[0],
        models[1],
        longer[0],
        longer[1],
        *(one.id for one in experiments),
    ]
    after = {task.key: task.after for task in tasks}
    assert [after[longer[seed]] for seed in (0, 1)] == [(models[0],), (models[1],)]
    coarse = next(one for one in experiments if one.defense.name == "quantize" and one.seed == 1)
    assert after[coarse.id] == (models[1], longer[1])
    Path(models[1]).parent.mkdir()
    Path(models[1]).touch()
    tasks = list(planned(experiments, roots, None))
    assert models[1] not in {task.key for task in tasks}
    assert {task.key: task.after for task in tasks}[coarse.id] == (longer[1],)


MINE = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from cutlayer.defenses.base import Defense

@dataclass(kw_only=True)
class Clumsy(Defense):
    dies: bool = False
    plain_words = "fails"

    def harden(self, split, data, seed):
        if not (Path(__file__).parent / "mended").exists():
            if self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("The weights have become NaN.")
        return split
"""


def test_what_fails_is_recorded_the_others_go_on_and_a_later_success_forgets_it(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    defenses = 'defense = [{name = "mine.py:Clumsy"}, {name = "mine.py:Clumsy", dies = true}, {name = "none"}]\n'
    path, (raises, dies, fine) = loaded(tmp_path, TINY + defenses)
    runs = tmp_path / "runs"
    words = ["grid", str(path), "--out", str(runs), "--workers", "2"]
    with pytest.raises(CutlayerError, match="2 of 3 experiments failed; each has its traceback in"):
        cli.app().cli(args=words)
    printed = capsys.readouterr().out
    assert f"failed: {runs / raises.id}, {raises}: RuntimeError: The weights have become NaN." in printed
    assert "no defense" in printed
    assert (runs / fine.id / "result.json").exists()
    first, second = read_failure(runs / raises.id), read_failure(runs / dies.id)
    assert first.error == "RuntimeError: The weights have become NaN."
    assert "in harden" in first.traceback
    assert first.host == os.uname().nodename
    assert first.when.endswith("Z")
    assert "may have killed it" in second.error
    finished = (runs / fine.id / "result.json").stat().st_mtime_ns
    (tmp_path / "mended").touch()
    _, _, failed = ran([raises, fine], runs, Here())
    assert failed == {}
    assert [path.parent.name for path in runs.glob(f"*/{FAILED}")] == [dies.id]
    assert {path.parent.name for path in runs.glob("*/result.json")} == {raises.id, fine.id}
    assert (runs / fine.id / "result.json").stat().st_mtime_ns == finished


def test_a_killed_grid_leaves_no_process_refuses_a_second_one_and_goes_on(alone, tmp_path):
    path, experiments, runs = alone
    words = ["cutlayer.cli", "grid", str(path), "--out", str(tmp_path / "runs"), "--workers", "1"]
    command = [sys.executable, "-m", *words]
    grid = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    try:
        first, second = (tmp_path / "runs" / experiment.id for experiment in experiments)
        until((first / "result.json").exists)
        with pytest.raises(BusyError, match=rf"runs is in use by process {grid.pid} on .* since"):
            ran(experiments, tmp_path / "runs", Unused())
        until(second.exists)
        children = psutil.Process(grid.pid).children(recursive=True)
        assert children
    finally:
        grid.send_signal(signal.SIGKILL)
        grid.wait()
    until(lambda: not any(alive(child.pid) for child in children))
    finished = (first / "result.json").stat().st_mtime_ns
    _, results, failed = ran(experiments, tmp_path / "runs", Here())
    assert (len(results), failed) == (2, {})
    assert (first / "result.json").stat().st_mtime_ns == finished
    for experiment in experiments:
        assert figures(tmp_path / "runs" / experiment.id) == figures(runs / experiment.id)


def test_a_dry_run_of_a_grid_says_how_long_it_takes_on_so_many_places(alone):
    _, experiments, _ = alone
    parts = [[Part("training", 30.0), Part("attacking", 10.0)], [Part("attacking", 20.0)]]
    said = told(experiments, parts, places=2).splitlines()
    assert said[-2:] == [
        "In all about 60 s on this machine, one after the other.",
        "With 2 at once, each on cores of its own, about 30 s.",
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_experiments_have_the_same_figures_on_each_engine_and_a_cluster_that_loses_a_machine(tmp_path, monkeypatch):
    for package in ("ray", "submitit"):
        pytest.importorskip(package)
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    _, experiments = loaded(tmp_path, TEN)
    assert len(experiments) == 10
    ran(experiments, tmp_path / "local", Local(workers=2))
    ran(experiments, tmp_path / "slurm", ENGINES.make("slurm", workers=2))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        lost, finished = cluster.add_node(num_cpus=1), []

        def say(line):
            """After half of the experiments, kill the processes of the second machine."""
            finished.append(": done in " in line and "training shared" not in line)
            if sum(finished) == 5 and finished[-1]:
                cluster.remove_node(lost, allow_graceful=False)

        engine = ENGINES.make("ray", address=cluster.address)
        results, failed = run_grid(experiments, tmp_path / "ray", engine, resume=True, data_root=None, say=say)
        assert sum(finished) == 10
    finally:
        cluster.shutdown()
    assert (len(results), failed) == (10, {})
    for experiment in experiments:
        expected = figures(tmp_path / "local" / experiment.id)
        for engine in ("slurm", "ray"):
            assert figures(tmp_path / engine / experiment.id) == expected, f"{experiment} on {engine}"
