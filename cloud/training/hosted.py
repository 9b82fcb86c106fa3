"""One training at the server: the service that answers the clients, and the book that keeps its record."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path

from cutlayer.cloud.training.book import Book
from cutlayer.cloud.training.coordinator import Coordinator
from cutlayer.cloud.training.desk import Desk
from cutlayer.cloud.training.ledger import Ledger
from cutlayer.cloud.training.service import TrainingService
from cutlayer.errors import Refused
from cutlayer.protocols import plan as plans
from cutlayer.protocols.checkpoint import Checkpoints
from cutlayer.protocols.events import Event, Listener, unheard
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.protocols.recording import Recording
from cutlayer.protocols.setup import Setup, untrained
from cutlayer.records import training
from cutlayer.records.training import TRANSCRIPT, Alarm, RoundRecord, TrainingRecord
from cutlayer.spec import TensorSpec
from cutlayer.wire.visitors import Visitors


class Hosted:
    """A training that clients can take part in.

    Args:
        plan: The plan.
        input: One input of the model.
        classes: Names of the classes.
        setup: The data of the plan; None where this machine has none.
        folder: Folder of the run.
        transport: How the parties reach each other, for the record.
        apart: Whether each client is a process of its own.
        told: Called with each round when it is over.
        before: The record of the run before an interruption.
        on: Hears what happens at the server.
        visitors: The log of who is refused.

    Attributes:
        service: Answers the asks of any transport.
        coordinator: The coordinator of now.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        input: TensorSpec,
        classes: tuple[str, ...],
        setup: Setup | None,
        folder: Path,
        transport: str,
        *,
        apart: bool,
        told: Callable[[RoundRecord], None],
        before: TrainingRecord | None = None,
        on: Listener = unheard,
        visitors: Visitors | None = None,
    ) -> None:
        self._plan, self._input, self._classes, self._on, self._folder = plan, input, classes, on, folder
        self._checkpoints = Checkpoints(folder / "server", plan.id)
        self._book = Book(plan, setup, classes, folder, transport, told)
        if before is not None:
            self._book.go_on(before.rounds, before.alarms)
        held = setup.held() if setup is not None else None
        self._ledger = Ledger(held, self._book.take_down, apart=apart)
        self.service = TrainingService(self._build, visitors=visitors)

    @property
    def record(self) -> TrainingRecord:
        """The record so far."""
        return self._book.record

    @property
    def failed(self) -> Refused | None:
        """Why the training has failed; None where it has not."""
        return self.coordinator.failed

    def end(self) -> TrainingRecord:
        """Close the record, when all clients have ended or the server stops."""
        if self.coordinator.rounds >= self._plan.rounds:
            self._book.finish()
        return self._book.record

    def _build(self) -> Desk:
        """A coordinator that stands at the last checkpoint, or at the beginning if there is none."""
        model = untrained(self._plan, self._input, len(self._classes))
        coordinator = Coordinator(
            self._plan, model, self._input, len(self._classes), on=self._hear,
            saved=lambda round: self._checkpoints.save(round, *coordinator.state()),
        )  # fmt: skip
        if (last := self._checkpoints.last()) is not None:
            coordinator.load(*self._checkpoints.load(last))
        self._listeners: list[Listener] = [self._ledger, self._on]
        if self._plan.record:
            self._listeners.append(Recording(self._folder / "server" / TRANSCRIPT, after=coordinator.rounds))
        self._ledger.begin(lambda: (dict(coordinator.traffic), coordinator.busy_s))
        self.coordinator = coordinator
        return Desk(coordinator, plans.toml(self._plan), self._plan.clients, self._ledger.tick)

    def _hear(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)
        if event.name == "alarm":
            found = {key: event.what[key] for key in ("detector", "score", "threshold")}
            self._book.alarmed(Alarm(client=event.client, round=event.round, step=event.step, **found))
        kept = milestones(self._plan.rounds)
        if event.name == "averaged" and event.round in kept and self._plan.row.head != "own":
            training.write_model(self._folder, event.round, event.what["weights"])


def milestones(rounds: int) -> tuple[int, ...]:
    """The rounds whose weights are kept: the first, the one at a tenth, and the last."""
    return tuple(dict.fromkeys((1, ceil(rounds / 10), rounds)))
