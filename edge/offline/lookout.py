"""Whether the server is there: looked for with growing pauses while it is gone, so that no request waits for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from math import inf

from cutlayer.errors import DeadlineExceeded, Refused, Unreachable, WireError

log = logging.getLogger("edge.offline.replay")


class Lookout:
    """What is known of the server.

    Args:
        look: Shakes hands with it, or raises WireError.
        first_pause_s: From the first look that was in vain to the next; it doubles each time.
        most_pause_s: What no pause exceeds.
        clock: Monotonic, in seconds.
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
        """Whether the server is there, as far as is known; looks for it where it was gone and the pause is over.

        Raises:
            SplitError: The server that is there holds another split.
            WireError: It refuses this device.
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
        """Let the next look not wait for the pause."""
        self._look_at = -inf

    def lost(self, error: WireError) -> None:
        """Take note that the server is gone. Raises the error where it says something else."""
        gone = isinstance(error, Unreachable | DeadlineExceeded) or (
            isinstance(error, Refused) and (error.retry_after_ms or error.code == "UNAVAILABLE")
        )
        if not gone:
            raise error
        if self._here or self._pause_s == self._first_pause_s:
            log.warning("the server is gone: %s", error)
        self._here = False
        self._look_at = self._clock() + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._most_pause_s)
