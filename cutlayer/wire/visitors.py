"""Who reaches a server, who is refused, and why: a line each in the log, and counts."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger("cutlayer.wire.visitors")

LINES, WINDOW_S = 5, 10.0
"""Most lines for one reason in this time; further ones are counted, and their number is said later."""

REMEMBERED = 4096
"""Connections by whose names a repeated call is recognized."""

ARRIVED, REFUSED, WITHHELD = "is connected", "is refused", "more since, not listed"
"""Words by which the lines of this log are known among others."""

REASONS = ("tls", "token", "key", "protocol", "limit")
"""Reasons for which a connection is refused; they are labels in the metrics."""


@dataclass
class _Window:
    """The lines of one reason since `start_s`."""

    start_s: float
    lines: int = 0
    withheld: int = 0


class Visitors:
    """The log of one server. Any thread may use it.

    Args:
        clock: Monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._windows: dict[str, _Window] = {}
        self._connections = 0
        self._refused: Counter[str] = Counter()

    def arrived(self, peer: str) -> None:
        """Say that a client is connected, if this is its first message."""
        if peer in self._seen:
            return
        with self._lock:
            self._seen[peer] = None
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
            self._connections += 1
            self._say("connections", f"{peer} {ARRIVED}")

    def knows(self, peer: str) -> bool:
        """Return whether a client has been heard."""
        return peer in self._seen

    def turned_away(self, peer: str, reason: str, why: str) -> None:
        """Say that a connection is refused, and count it under its reason, one of `REASONS`."""
        with self._lock:
            self._refused[reason] += 1
            self._say(reason, f"{peer} {REFUSED}: {why}")

    def refused(self, peer: str, code: str, why: str) -> None:
        """Say that a request is refused; the metrics of requests count it."""
        with self._lock:
            self._say(code, f"{peer} {REFUSED}, {code}: {why}")

    def counts(self) -> tuple[int, dict[str, int]]:
        """Return the number of connections, and that of the refused ones by reason."""
        with self._lock:
            return self._connections, dict(self._refused)

    def close(self) -> None:
        """Say how many lines were withheld at last."""
        with self._lock:
            for reason, window in self._windows.items():
                self._say_withheld(reason, window)

    def _say(self, reason: str, line: str) -> None:
        now = self._clock()
        for other, window in self._windows.items():
            if now - window.start_s >= WINDOW_S:
                self._say_withheld(other, window)
        window = self._windows.setdefault(reason, _Window(now))
        if now - window.start_s >= WINDOW_S:
            window.start_s, window.lines = now, 0
        if window.lines < LINES:
            window.lines += 1
            log.info("%s", line)
        else:
            window.withheld += 1

    def _say_withheld(self, reason: str, window: _Window) -> None:
        if window.withheld:
            log.info("%s: %d %s", reason, window.withheld, WITHHELD)
            window.withheld = 0
