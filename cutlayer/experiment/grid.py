"""All experiments of a plan on an engine: what is shared is trained once, what fails is recorded, the others go on."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
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

    Returns:
        The results of those that are finished, and by its id why each of the others failed.

    Raises:
        BusyError: Another grid runs in that folder; the message says which process.
        ConfigError, SplitError, DataError, WithheldError: See `cutlayer.experiment.run.check`.
        WriteError: The user may not write to `runs`.
    """
    check_writable(runs, "folder")
    experiments = list({experiment.id: experiment for experiment in experiments}.values())
    with only_one(runs, inside=True):
        by_data = sorted(experiments, key=lambda experiment: (experiment.data, experiment.seed))
        check_all(by_data, loading(data_root, most=1), weights_root, say)
        for experiment in () if resume else experiments:
            delete(runs / experiment.id)
        pending = [one for one in experiments if not (runs / one.id / RESULT).exists()]
        say(f"{len(experiments)} experiments, {len(experiments) - len(pending)} of them finished before")
        for experiment in pending:
            forget_failure(runs / experiment.id)
        roots = {"runs": str(runs.absolute()), "data_root": _text(data_root), "threads": engine.cpus}
        tasks = list(planned(pending, roots, _text(weights_root)))
        failed, by_id = dict[str, str](), {experiment.id: experiment for experiment in pending}
        try:
            with closing(engine.run(tasks, runs / WORK)) as outcomes:
                for done, outcome in enumerate(outcomes, 1):
                    _tell(f"[{done}/{len(tasks)}]", outcome, by_id.get(outcome.key), say)
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


def _tell(place: str, outcome: Outcome, experiment: Experiment | None, say: Say) -> None:
    """Say what became of a task."""
    what = str(experiment or f"training shared by several, {Path(outcome.key).stem}")
    if outcome.error:
        say(f"{place} {what}: FAILED. {outcome.error}")
    else:
        say(f"{place} {what}: done in {words(outcome.seconds)}")
        say(f"          {outcome.value}")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
