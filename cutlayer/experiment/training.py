"""A training on this machine from its plan to its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cutlayer.cloud.training.book import begun as beginning
from cutlayer.cloud.training.book import earlier
from cutlayer.cloud.training.trackers import check, opened
from cutlayer.deployment import training as deployed
from cutlayer.deployment.training_processes import processes
from cutlayer.machine.compute import tune_allocator
from cutlayer.machine.files import check_writable
from cutlayer.machine.lock import only_one
from cutlayer.privacy.trained import leakage
from cutlayer.protocols.events import Event, Listener, unheard
from cutlayer.protocols.plan import TrainingPlan, toml
from cutlayer.protocols.setup import Setup, prepare
from cutlayer.protocols.unused import unused
from cutlayer.records import training
from cutlayer.records.files import write_text
from cutlayer.records.training import RoundRecord, TrainingRecord
from cutlayer.report.trainings.terminal import heading, line, summary


def train(
    plan: TrainingPlan,
    *,
    out: Path,
    data_root: Path | None,
    resume: bool,
    transport: str | None,
    record: bool,
    compare: bool,
    log: Sequence[str],
    tell: Callable[[str], None],
    say: Callable[[str], None],
    on: Listener = unheard,
) -> TrainingRecord:
    """Train, and return the record, which is in the folder of the run as well.

    Args:
        plan: The plan.
        out: Folder of all runs; that of this run is named after the id of the plan.
        data_root: Folder of the data sets that are not embedded.
        resume: Whether to go on with an interrupted run.
        transport: zmq or grpc, with a process for each party; None for threads of this process.
        record: Whether each party keeps what it sees.
        compare: Whether the result is compared, see `compared`.
        log: Names of `cutlayer.cloud.training.trackers.TRACKERS`.
        tell: Called with each line of the result.
        say: Called with each line of progress.
        on: Hears what happens, where all parties are in this process.

    Raises:
        ConfigError, DataError, SplitError: The plan cannot be trained; found before anything is written.
        Unreachable, Refused: A party has failed.
    """
    for name in log:
        check(name)
    folder = out / plan.id
    check_writable(folder, "folder")
    if record:
        plan = replace(plan, record=True)
    setup = prepare(plan, data_root)
    for text in setup.notes:
        say(text)
    before = earlier(folder, resume=resume)
    if before is not None and before.finished:
        say(f"{folder} holds this training, finished; change the plan, or delete the folder to train again.")
        tell(summary(before))
        return before
    if transport is None:
        if text := unused(plan):
            say(text)
        tune_allocator()
        with only_one(folder):
            made = _in_process(setup, folder, before, log, tell, say, on)
        made = compared(made, setup, out, data_root, say) if compare else made
        tell(summary(made))
        return made
    write_text(folder / training.PLAN, toml(plan))
    processes(
        plan, transport, out=out, data_root=data_root, resume=before is not None, compare=compare, log=log, tell=tell,
        say=say,
    )  # fmt: skip
    return training.read(folder)


def compared(
    made: TrainingRecord, setup: Setup, out: Path, data_root: Path | None, say: Callable[[str], None]
) -> TrainingRecord:
    """The record of a finished training with what it has to be seen beside.

    That is what clients reach that train alone, and what an attacker rebuilds of the smashed data as training goes on.
    """
    plan, folder = setup.plan, out / setup.plan.id
    if not made.finished:
        return made
    if made.local is None and plan.clients > 1 and plan.protocol != "local":
        say("training each client alone, for comparison")
        alone = deployed.alone(setup, out / "baselines")
        assert alone.last is not None
        made = replace(made, local=alone.last.accuracy, local_mean=alone.last.mean)
    if not made.leakage and (models := training.models(folder)):
        say("attacking the smashed data of some rounds")
        made = replace(made, leakage=leakage(setup, models, data_root))
    training.write(folder, made)
    return made


def _in_process(
    setup: Setup,
    folder: Path,
    before: TrainingRecord | None,
    log: Sequence[str],
    tell: Callable[[str], None],
    say: Callable[[str], None],
    on: Listener,
) -> TrainingRecord:
    begun = beginning(setup.plan, setup, setup.classes, "in process")
    tell(heading(begun))
    trackers = [opened(name, before or begun, folder) for name in log]

    def told(entry: RoundRecord) -> None:
        tell(line(entry))
        for track in trackers:
            track(entry)

    def heard(event: Event) -> None:
        if event.name == "alarm" and "said" in event.what:
            say(f"client {event.client}: {event.what['said']} of round {event.round}")
        on(event)

    return deployed.in_process(setup, folder, told=told, on=heard, before=before)
