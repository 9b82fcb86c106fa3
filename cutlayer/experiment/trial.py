"""One experiment of a grid, and what several share, as functions of plain arguments that any process can call.

Each is pure: what it leaves, and its name, follow from its arguments alone. Called twice, or again after it was killed,
it takes up what is there.
"""

import functools
import tomllib
import traceback
from pathlib import Path

import torch

from cutlayer.data.splits import Splits
from cutlayer.experiment import plan, victim
from cutlayer.experiment.engines.base import sentence
from cutlayer.experiment.result import summary
from cutlayer.experiment.run import Load, kept_or_run, loading
from cutlayer.experiment.spec import Experiment
from cutlayer.machine.compute import tune_allocator
from cutlayer.models.kept import Say
from cutlayer.records.failed import write_failure
from cutlayer.terminal import say


def trial(experiment: str, runs: str, data_root: str | None, weights_root: str | None, threads: int) -> str:
    """Run an experiment that is not finished, and record why where it fails.

    Args:
        experiment: A plan of one experiment, as `cutlayer.experiment.plan.toml` writes it.
        runs: Folder of the records.
        data_root: Folder of the data sets that are not embedded.
        weights_root: Folder of the published weights of metrics.
        threads: Threads of training and attacks. With another number, a seed gives other last digits.

    Returns:
        The figures of the experiment in one line.
    """
    planned, folder = _begin(experiment, threads), Path(runs)
    try:
        result, _ = kept_or_run(
            planned, _loader(data_root), folder, _path(data_root), _named(planned.id), _path(weights_root)
        )
    except Exception as error:
        write_failure(folder / planned.id, sentence(error), "".join(traceback.format_exception(error)))
        raise
    return summary(result)


def train(experiment: str, runs: str, data_root: str | None, threads: int) -> str:
    """Train the model of an experiment, which others have as well; see `trial`."""
    planned = _begin(experiment, threads)
    path = victim.cached(planned, Path(runs))
    victim.trained(planned, _data(planned, data_root), Path(runs), _named(path.stem))
    return f"the model is {path}"


def train_further(experiment: str, runs: str, data_root: str | None, threads: int, epochs: int) -> str:
    """Train the model of an experiment for so many epochs more, as other experiments with equal ones need it."""
    planned = _begin(experiment, threads)
    data, told = _data(planned, data_root), _named(victim.cached(planned, Path(runs)).stem)
    model = victim.trained(planned, data, Path(runs), told)
    victim.further(planned, model, data, epochs, Path(runs), told)
    return f"trained for {epochs} epochs more"


def _begin(experiment: str, threads: int) -> Experiment:
    tune_allocator()
    torch.set_num_threads(threads)
    (planned,) = plan.parse(tomllib.loads(experiment))
    return planned


def _data(experiment: Experiment, data_root: str | None) -> Splits:
    return victim.shown(experiment, _loader(data_root)(experiment))


@functools.cache
def _loader(data_root: str | None) -> Load:
    """The data of the last experiment in this process, which are often those of the next."""
    return loading(_path(data_root), most=1)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _named(name: str) -> Say:
    """Progress with a name before it, for the lines of several processes meet on one terminal."""
    return lambda text: say(f"{name[:8]}  {text}")
