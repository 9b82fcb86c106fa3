"""Whether the server is reachable. Attempts to reach it are made with growing pauses."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from math import inf

from cutlayer.errors import WireError
from cutlayer.foreign import shown
from cutlayer.wire.outcomes import Then, outcome

log = logging.getLogger("cutlayer.edge.offline.replay")


class Lookout:
    """The last known state of the server.

    Args:
        look: Makes a handshake with the server, or raises WireError.
        first_pause_s: Pause after the first failed attempt in seconds; it doubles with each further one.
        most_pause_s: Longest pause in seconds.
        clock: Monotonic clock, in seconds.

    Attributes:
        here: Whether the server is reachable, as far as is known.
        losses: Number of times that the server was found to be away.
        why: What was wrong the last time; empty once the server has answered.
        over: Whether this device is closing, so that an attempt that it breaks off says nothing of the server.
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
        self._pause_s, self._look_at = first_pause_s, -inf
        self.here, self.losses, self.why = False, 0, ""
        self.over = False

    def due_in_s(self) -> float:
        """Return the seconds until the next attempt to reach the server; 0 if it is due."""
        return max(0.0, self._look_at - self._clock())

    def look(self) -> None:
        """Try to reach the server, which takes as long as the handshake may take.

        Raises:
            SplitError: The server holds another split.
            WireError: The server refuses the handshake for good.
        """
        try:
            self._look()
        except WireError as error:
            if not self.over:
                self.lost(error)
        else:
            self.here = True

    def at_once(self) -> None:
        """End the current pause."""
        self._look_at = -inf

    def answered(self) -> None:
        """Note that the server has answered a request in time: the next pause is short again."""
        self._pause_s, self.why = self._first_pause_s, ""

    def lost(self, error: WireError) -> None:
        """Note that the server is away, or fails; raise the error if it refuses for good."""
        if outcome(error).then is Then.REFUSED:
            raise error
        self.why = shown(error)
        if self.here or self._pause_s == self._first_pause_s:
            log.warning("the server is away: %s", error)
        self.here = False
        self.losses += 1
        self._look_at = self._clock() + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._most_pause_s)
