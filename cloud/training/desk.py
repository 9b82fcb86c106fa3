"""What a server answers before the training itself: the plan, to who asks for it."""

from __future__ import annotations

from collections.abc import Callable

from cutlayer.cloud.training.coordinator import Coordinator
from cutlayer.cloud.training.service import MOST_READERS
from cutlayer.errors import Refused
from cutlayer.wire.training import CLIENT, READER, ROUND, Ask, Call, Reply

PLAN = "plan"
"""The id of the client's plan in OPEN, and the plan as TOML in the reply to a session that only asks for it."""


class Desk:
    """Stands before a coordinator, and gives the plan to sessions that only ask for it, numbered from `READER`.

    Args:
        coordinator: What decides all other replies; see `cutlayer.cloud.training.service.Coordinator`.
        plan: The plan as TOML.
        clients: Number of clients.
        complete: Called with each ask once all clients are there.
    """

    def __init__(self, coordinator: Coordinator, plan: str, clients: int, complete: Callable[[], None]) -> None:
        self.coordinator, self._plan, self._n_clients, self._complete = coordinator, plan, clients, complete
        self._readers: set[str] = set()
        self._opened: set[str] = set()

    def take(self, ask: Ask, done: Callable[[Reply | Refused], None]) -> None:
        """See `cutlayer.cloud.training.service.Coordinator`."""
        client = ask.parameters.get(CLIENT)
        if ask.call is Call.OPEN and isinstance(client, int) and client >= READER:
            if len(self._readers) >= MOST_READERS:
                self._readers.pop()
            self._readers.add(ask.session)
            done(Reply(ask.step, {PLAN: self._plan, ROUND: 0}))
        elif ask.session in self._readers:
            self._readers.discard(ask.session)
            done(Reply(ask.step))
        else:
            if ask.call is Call.OPEN and len(self._opened) < self._n_clients:
                self._opened.add(ask.session)
            if len(self._opened) >= self._n_clients:
                self._complete()
            self.coordinator.take(ask, done)

    @property
    def gone(self) -> set[int]:
        """See `Coordinator.gone`."""
        return self.coordinator.gone

    @property
    def awaited(self) -> frozenset[int]:
        """See `Coordinator.awaited`."""
        return self.coordinator.awaited

    def waiting(self, session: str) -> str:
        """See `cutlayer.cloud.training.service.Coordinator`."""
        return self.coordinator.waiting(session)

    def close(self) -> None:
        """See `cutlayer.cloud.training.service.Coordinator`."""
        self.coordinator.close()
