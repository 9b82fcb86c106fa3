"""The folder of a training: its plan, who holds what, the environment, and the record, written after each round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np

from cutlayer.bounded import reason
from cutlayer.data.partition import digest
from cutlayer.errors import ConfigError
from cutlayer.machine.identity import environment
from cutlayer.protocols import plan as plans
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.protocols.private import guarantee
from cutlayer.protocols.row import CHOICES
from cutlayer.protocols.setup import Setup
from cutlayer.protocols.sight import label, sees
from cutlayer.records import training
from cutlayer.records.training import Alarm, RoundRecord, TrainingRecord
from cutlayer.registry import DATASETS, MODELS


class Book:
    """Keeps the record of one training.

    Args:
        plan: The plan.
        setup: Its data; None where this machine has none.
        classes: Names of the classes.
        folder: Folder of the run.
        transport: How the parties reach each other.
        told: Called with each round when it is over.

    Attributes:
        record: The record so far.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        setup: Setup | None,
        classes: tuple[str, ...],
        folder: Path,
        transport: str,
        told: Callable[[RoundRecord], None],
    ) -> None:
        self._folder, self._told = folder, told
        self.record = begun(plan, setup, classes, transport)
        env = environment(edge=plan.threads, cloud=plan.threads)
        training.begin(folder, plans.toml(plan), env, None if setup is None else setup.indices)
        self.go_on(())

    def take_down(self, entry: RoundRecord) -> None:
        """Add a round; rounds from there on, which a rollback has undone, go."""
        before = tuple(earlier for earlier in self.record.rounds if earlier.round < entry.round)
        self.record = replace(self.record, rounds=(*before, entry))
        training.write(self._folder, self.record)
        self._told(entry)

    def go_on(self, rounds: tuple[RoundRecord, ...], alarms: tuple[Alarm, ...] = ()) -> None:
        """Take over the rounds and the alarms of an interrupted run."""
        self.record = replace(self.record, rounds=rounds, alarms=alarms)
        training.write(self._folder, self.record)

    def alarmed(self, alarm: Alarm) -> None:
        """Add an alarm; the same detector's of the same client, from before the run went back, goes."""
        others = [a for a in self.record.alarms if (a.client, a.detector) != (alarm.client, alarm.detector)]
        self.record = replace(self.record, alarms=(*others, alarm))
        training.write(self._folder, self.record)

    def finish(self) -> None:
        """Say that the last round is there."""
        self.record = replace(self.record, finished=True)
        training.write(self._folder, self.record)


def begun(plan: TrainingPlan, setup: Setup | None, classes: tuple[str, ...], transport: str) -> TrainingRecord:
    """The record of a training that has not begun."""
    record = TrainingRecord(
        schema=training.SCHEMA,
        id=plan.id,
        name=plan.name,
        claim=plan.claim,
        plan=str(plan),
        label=label(plan),
        protocol=plan.protocol,
        row={key: getattr(plan.row, key) for key in CHOICES},
        data=DATASETS.label(plan.data),
        model=MODELS.label(plan.model),
        cuts=() if plan.row.tail == "none" else plan.cuts or (plan.cut,),
        clients=plan.clients,
        planned=plan.rounds,
        seed=plan.seed,
        classes=classes,
        partition=plan.partition.label,
        sees=sees(plan),
        detectors=tuple(detector.label for detector in plan.detectors),
        guarantee=guarantee(plan),
        transport=transport,
    )
    if setup is None:
        return record
    return replace(
        record,
        digest=digest(setup.indices),
        held=tuple(tuple(map(int, row)) for row in setup.held()),
        n_train=len(setup.train),
        n_test=len(setup.test),
        majority=majority(setup),
        guarantee=guarantee(plan, min(map(len, setup.indices))),
    )


def majority(setup: Setup) -> float:
    """The accuracy of whoever always answers the most frequent class of the training samples."""
    if not len(setup.test):
        return nan
    most = np.bincount(setup.train.labels, minlength=len(setup.classes)).argmax()
    return float((setup.test.labels == most).mean())


def earlier(folder: Path, *, resume: bool) -> TrainingRecord | None:
    """The record that is in the folder of a run already; None where there is none.

    Raises:
        ConfigError: There is one that is not finished, and `resume` does not say to go on with it; or it is damaged.
    """
    try:
        record = training.read(folder)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{folder / training.TRAINING} is damaged ({reason(error)}); delete the folder to train again."
        ) from None
    if not record.finished and not resume:
        raise ConfigError(
            f"{folder} holds a training of this plan that stopped after {len(record.rounds)} of {record.planned} "
            "rounds: go on with --resume, or delete the folder to begin again."
        )
    return record
