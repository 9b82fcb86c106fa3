"""All experiments of a plan on an engine: what is shared is trained once, what fails is recorded, the others go on."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from cutlayer.experiment import victim
from cutlayer.experiment.engines.base import Engine, Outcome, Task
from cutlayer.experiment.plan import toml
from cutlayer.experiment.run import check_all, loading
from cutlayer.experiment.spec import Experiment
from cutlayer.machine.files import check_writable
from cutlayer.machine.lock import only_one
from cutlayer.models.kept import Say
from cutlayer.progress import words
from cutlayer.records.failed import FAILED, forget_failure, write_failure
from cutlayer.records.files import delete
from cutlayer.records.reading import read_finished
from cutlayer.records.run import RESULT, Result
from cutlayer.registry import defense_from
from cutlayer.tables import Options

WORK = ".engine"
"""Folder of the engine's own files, below that of the records."""


def run_grid(
    experiments: Sequence[Experiment],
    runs: Path,
    engine: Engine,
    *,
    resume: bool,
    data_root: Path | None,
    say: Say,
    weights_root: Path | None = None,
    source: Path | None = None,
) -> tuple[list[Result], dict[str, str]]:
    """Run each experiment that is not finished yet.

    Args:
        experiments: The experiments; of equal ones the last.
        runs: Folder of the records. Where the engine has other machines, all of them see it at the same place.
        engine: What runs them.
        resume: Whether finished experiments, and finished parts of others, are kept.
        data_root: Folder of the data sets that are not embedded; the same place on every machine as well.
        say: Called with each line of progress.
        weights_root: Folder of the published weights of metrics.
        source: File of the plan, which errors about it name.

    Returns:
        The results of those that are finished, and by its id why each of the others failed.

    Raises:
        BusyError: Another grid runs in that folder; the message says which process.
        ConfigError, SplitError, DataError, WithheldError: See `cutlayer.experiment.run.check`.
        WriteError: The user may not write to `runs`.
    """
    check_writable(runs, "folder")
    experiments = list({experiment.id: experiment for experiment in experiments}.values())
    with only_one(runs, inside=True), _telling_where_it_stopped(experiments, runs, say):
        by_data = sorted(experiments, key=lambda experiment: (experiment.data, experiment.seed))
        check_all(by_data, loading(data_root, most=1), weights_root, say, source)
        for experiment in () if resume else experiments:
            delete(runs / experiment.id)
        pending = [one for one in experiments if not (runs / one.id / RESULT).exists()]
        say(f"{len(experiments)} experiments, {len(experiments) - len(pending)} of them finished before")
        for experiment in pending:
            forget_failure(runs / experiment.id)
        roots = {"runs": str(runs.absolute()), "data_root": _text(data_root), "threads": engine.cpus}
        tasks = list(planned(pending, roots, _text(weights_root)))
        failed, by_id = dict[str, str](), {experiment.id: experiment for experiment in pending}
        if tasks and (where := engine.where()):
            say(where)
        # The number of experiments stays the same when a grid goes on; shared training is counted apart.
        n_trainings, ended, trained = len(tasks) - len(pending), len(experiments) - len(pending), 0
        engine.note = lambda task, what: say(f"{_name(task.key)}  {_what(task.key, by_id)}: {what}")
        try:
            with closing(engine.run(tasks, runs / WORK)) as outcomes:
                for outcome in outcomes:
                    ended, trained = (ended + 1, trained) if outcome.key in by_id else (ended, trained + 1)
                    done = f"{ended}/{len(experiments)}" if outcome.key in by_id else f"shared {trained}/{n_trainings}"
                    _tell(f"[{done}] {_what(outcome.key, by_id)}", outcome, say)
                    if outcome.error and outcome.key in by_id:
                        failed[outcome.key] = outcome.error
                        if not (runs / outcome.key / FAILED).exists():  # the process could not write it
                            write_failure(runs / outcome.key, outcome.error, outcome.traceback)
        finally:
            delete(runs / WORK)
        found = [read_finished(runs / experiment.id, say) for experiment in experiments]
        return [result for result in found if result is not None], failed


def planned(experiments: Sequence[Experiment], roots: Options, weights_root: str | None) -> Iterator[Task]:
    """The tasks of these experiments, each after those of the training that it shares with others.

    Args:
        experiments: Those that are not finished.
        roots: Arguments of every task.
        weights_root: See `run_grid`.
    """
    runs = Path(roots["runs"])
    shared = [{task.key: task for task in _trainings(experiment, runs, roots)} for experiment in experiments]
    users = Counter(key for tasks in shared for key in tasks)
    once = {key: task for tasks in shared for key, task in tasks.items() if users[key] > 1 and not Path(key).exists()}
    for task in once.values():
        yield replace(task, after=tuple(key for key in task.after if key in once))
    for experiment, tasks in zip(experiments, shared, strict=True):
        arguments = {"experiment": toml(experiment), "weights_root": weights_root, **roots}
        after = tuple(key for key in tasks if key in once)
        yield Task(experiment.id, "cutlayer.experiment.trial:trial", arguments, after)


def _trainings(experiment: Experiment, runs: Path, roots: Options) -> Iterator[Task]:
    """What an experiment trains and other experiments may need as well; the key of each is the file that it leaves."""
    arguments = {"experiment": toml(experiment), **roots}
    model = victim.cached(experiment, runs)
    yield Task(str(model), "cutlayer.experiment.trial:train", arguments)
    epochs = defense_from({"name": experiment.defense.name, **experiment.defense.options}).further_epochs
    if epochs:
        further = victim.longer(model, epochs)
        arguments = {**arguments, "epochs": epochs}
        yield Task(str(further), "cutlayer.experiment.trial:train_further", arguments, (str(model),))


@contextmanager
def _telling_where_it_stopped(experiments: Sequence[Experiment], runs: Path, say: Say) -> Iterator[None]:
    """Within it, Ctrl-C says how far the grid has come, once what runs has been ended."""
    try:
        yield
    except KeyboardInterrupt:
        finished = sum((runs / experiment.id / RESULT).exists() for experiment in experiments)
        say(f"stopped: {finished} of {len(experiments)} are finished; the same command goes on.")
        raise


def _tell(what: str, outcome: Outcome, say: Say) -> None:
    """Say what became of a task."""
    if outcome.error:
        say(f"{what}: FAILED. {outcome.error}")
    else:
        say(f"{what}: done in {words(outcome.seconds)}")
        say(f"          {outcome.value}")


def _what(key: str, by_id: Mapping[str, Experiment]) -> str:
    return str(by_id.get(key) or f"training shared by several, {Path(key).stem}")


def _name(key: str) -> str:
    """What stands before the lines of a task's process, too."""
    return Path(key).stem[:8]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
