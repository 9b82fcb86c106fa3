"""A session that tells the server how long this client has computed, and how much memory it takes."""

from __future__ import annotations

import time
from collections.abc import Mapping

from cutlayer.edge.training.session import Session
from cutlayer.machine.footprint import peak_rss_bytes
from cutlayer.wire.codecs.base import NO_PARAMETERS, Encoded, Parameter
from cutlayer.wire.training import NO_TENSORS, Call, Reply


class Reporting:
    """A session whose asks say, at the end of each round, what its thread has computed since the begin of its turn.

    Args:
        session: What carries the asks.
        memory: Whether this process is the client's own, so that its memory says something.
    """

    def __init__(self, session: Session, *, memory: bool) -> None:
        self._session, self._memory = session, memory
        self._busy_s, self._since_s = 0.0, time.thread_time()

    def ask(
        self,
        call: Call,
        parameters: Mapping[str, Parameter] = NO_PARAMETERS,
        tensors: Mapping[str, Encoded] = NO_TENSORS,
    ) -> Reply:
        """See `Session.ask`."""
        # Not the time of a clock, in which other processes compute too, and not that within an ask.
        self._busy_s += time.thread_time() - self._since_s
        if call is Call.TURN:
            self._busy_s = 0.0
        elif call is Call.EVALUATE and not tensors:
            rss_bytes = peak_rss_bytes() if self._memory else 0
            parameters = {**parameters, "busy_s": self._busy_s, "rss_bytes": rss_bytes}
        try:
            return self._session.ask(call, parameters, tensors)
        finally:
            self._since_s = time.thread_time()
