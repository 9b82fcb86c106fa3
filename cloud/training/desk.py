"""What a server answers before the training itself: the plan, to who asks for it."""

from __future__ import annotations

from collections.abc import Callable

from cutlayer.cloud.training.coordinator import Coordinator
from cutlayer.errors import Refused
from cutlayer.wire.training import ROUND, Ask, Call, Reply

PLAN = "plan"
"""Parameter of OPEN, the id of the client's plan, and of the reply to an OPEN without it, the plan as TOML."""


class Desk:
    """Stands before a coordinator. A client that opens a session without the id of a plan gets the plan and closes.

    Args:
        coordinator: What decides all other replies; see `cutlayer.cloud.training.service.Coordinator`.
        plan: The plan as TOML.
        begun: Called when a client asks for its turn.
    """

    def __init__(self, coordinator: Coordinator, plan: str, begun: Callable[[], None]) -> None:
        self.coordinator, self._plan, self._begun = coordinator, plan, begun
        self._readers: set[str] = set()

    def take(self, ask: Ask, done: Callable[[Reply | Refused], None]) -> None:
        """See `cutlayer.cloud.training.service.Coordinator`."""
        if ask.call is Call.OPEN and PLAN not in ask.parameters:
            self._readers.add(ask.session)
            done(Reply(ask.step, {PLAN: self._plan, ROUND: 0}))
        elif ask.session in self._readers:
            self._readers.discard(ask.session)
            done(Reply(ask.step))
        else:
            if ask.call is Call.TURN:
                self._begun()
            self.coordinator.take(ask, done)

    @property
    def gone(self) -> frozenset[int]:
        """See `Coordinator.gone`."""
        return self.coordinator.gone

    def waiting(self, session: str) -> str:
        """See `cutlayer.cloud.training.service.Coordinator`."""
        return self.coordinator.waiting(session)

    def close(self) -> None:
        """See `cutlayer.cloud.training.service.Coordinator`."""
        self.coordinator.close()
