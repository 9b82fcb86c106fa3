"""What a server answers beside the training itself: the plan to who asks for it, and the times that clients report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cutlayer.cloud.training.ledger import Ledger
from cutlayer.errors import Refused
from cutlayer.wire.training import Ask, Call, Reply

PLAN, BUSY_S, RSS_BYTES = "plan", "busy_s", "rss_bytes"
"""Parameters: of OPEN and its reply the plan, and of an ask what the client has computed in this round."""


class Desk:
    """Stands before a coordinator. A client that opens a session without the id of a plan gets the plan and closes.

    Args:
        coordinator: What decides all other replies; see `cutlayer.cloud.training.service.Coordinator`.
        plan: The plan as TOML.
        ledger: Takes down what clients report.
    """

    def __init__(self, coordinator: Any, plan: str, ledger: Ledger) -> None:
        self.coordinator, self._plan, self._ledger = coordinator, plan, ledger
        self._readers: set[str] = set()
        self._clients: dict[str, int] = {}

    def take(self, ask: Ask, done: Callable[[Reply | Refused], None]) -> None:
        """See `cutlayer.cloud.training.service.Coordinator`."""
        if ask.call is Call.OPEN and PLAN not in ask.parameters:
            self._readers.add(ask.session)
            done(Reply(ask.step, {PLAN: self._plan}))
        elif ask.session in self._readers:
            self._readers.discard(ask.session)
            done(Reply(ask.step))
        else:
            self._take_down(ask)
            self.coordinator.take(ask, done)

    def waiting(self, session: str) -> str:
        """See `cutlayer.cloud.training.service.Coordinator`."""
        said: str = self.coordinator.waiting(session)
        return said

    def close(self) -> None:
        """See `cutlayer.cloud.training.service.Coordinator`."""
        self.coordinator.close()

    def _take_down(self, ask: Ask) -> None:
        parameters = ask.parameters
        if ask.call is Call.OPEN:
            self._clients[ask.session] = int(parameters.get("client", 0))
        round, busy_s, rss_bytes = (parameters.get(name) for name in ("round", BUSY_S, RSS_BYTES))
        if isinstance(round, int) and isinstance(busy_s, float) and isinstance(rss_bytes, int) and busy_s >= 0:
            self._ledger.note(round, self._clients.get(ask.session, 0), busy_s, rss_bytes)
