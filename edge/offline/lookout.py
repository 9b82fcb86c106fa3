"""Whether the server is reachable. Attempts to reach it are made with growing pauses, so that no request waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from math import inf

from cutlayer.errors import DeadlineExceeded, Refused, Unreachable, WireError

log = logging.getLogger("cutlayer.edge.offline.replay")


class Lookout:
    """The last known state of the server.

    Args:
        look: Makes a handshake with the server, or raises WireError.
        first_pause_s: Pause after the first failed attempt in seconds; it doubles with each further one.
        most_pause_s: Longest pause in seconds.
        clock: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        look: Callable[[], None],
        *,
        first_pause_s: float = 1.0,
        most_pause_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look, self._clock = look, clock
        self._first_pause_s, self._most_pause_s = first_pause_s, most_pause_s
        self._pause_s, self._look_at, self._here = first_pause_s, -inf, False

    def reachable(self) -> bool:
        """Return whether the server is reachable; after a pause, try to reach it.

        Raises:
            SplitError: The server holds another split.
            WireError: The server refuses this device.
        """
        if self._here:
            return True
        if self._clock() < self._look_at:
            return False
        try:
            self._look()
        except WireError as error:
            self.lost(error)
            return False
        self._here, self._pause_s = True, self._first_pause_s
        return True

    def at_once(self) -> None:
        """End the current pause."""
        self._look_at = -inf

    def lost(self, error: WireError) -> None:
        """Note that the server is away, or raise the error if it has another cause."""
        gone = isinstance(error, Unreachable | DeadlineExceeded) or (
            isinstance(error, Refused) and (error.retry_after_ms or error.code == "UNAVAILABLE")
        )
        if not gone:
            raise error
        if self._here or self._pause_s == self._first_pause_s:
            log.warning("the server is away: %s", error)
        self._here = False
        self._look_at = self._clock() + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._most_pause_s)
