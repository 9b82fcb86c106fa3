"""Queued requests that failed: is it the request, or does the server fail for all?

A request that failed is passed over until the server has answered another one. The answer shows that the server works,
so it counts as a try of each request that was passed over. After several tries such a request is set aside. A request
that is answered in the end shows that its failures were the server's, and all tries so far are forgotten: where each
attempt fails at random, fewer than one request in a hundred is set aside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cutlayer.edge.offline.queue import Place
from cutlayer.errors import WireError
from cutlayer.foreign import shown

TRIES = 5
"""Failed tries of a request, beside answers to others, after which it is set aside."""

LOSSES = 3
"""Times that the server is lost over the same request, without an answer in between, that make one failure of it."""

IN_A_ROW = 5
"""Failures without an answer in between after which the server counts as away, so that it is asked after a pause."""


class Suspect(NamedTuple):
    """A request that failed: its failed tries that count, and the last error."""

    tries: int
    error: WireError


class Suspects:
    """The requests of one queue that failed. For one thread at a time.

    Attributes:
        passed: Requests that are passed over for now.
        why: The last failure, until a request that failed is answered.
    """

    def __init__(self) -> None:
        self.passed: set[Place] = set()
        self.why = ""
        self._failed: dict[Place, Suspect] = {}
        self._lost_at: Place | None = None
        self._losses = self._in_a_row = 0

    def __len__(self) -> int:
        """Number of requests that failed and are not answered since."""
        return len(self._failed)

    def failed(self, place: Place, error: WireError) -> bool:
        """Take the failure of a request; return whether the server seems to fail for all."""
        self._failed[place] = Suspect(self._failed[place].tries if place in self._failed else 0, error)
        self.passed.add(place)
        self.why = shown(error)
        self._in_a_row += 1
        return self._in_a_row >= IN_A_ROW

    def lost(self, place: Place, error: WireError) -> None:
        """Take that the server was lost over a request, which it may be again and again if the request ends it."""
        self._losses = self._losses + 1 if place == self._lost_at else 1
        self._lost_at = place
        if self._losses == LOSSES:
            self._lost_at = None
            self.failed(place, error)

    def answered(self, place: Place) -> dict[Place, Suspect]:
        """Take the answer to a request; return those that are to be set aside, which it then forgets."""
        self._lost_at, self._in_a_row = None, 0
        if not self._failed:
            return {}
        if place in self._failed:
            self._failed.clear()
            self.why = ""
        for other in self.passed & self._failed.keys():
            tries, error = self._failed[other]
            self._failed[other] = Suspect(tries + 1, error)
        self.passed.clear()
        over = {other: suspect for other, suspect in self._failed.items() if suspect.tries >= TRIES}
        for other in over:
            del self._failed[other]
        return over

    def again(self) -> None:
        """Pass over no request: all others have failed too, or it is time for another attempt."""
        self.passed.clear()

    def keep(self, waits: Callable[[Place], bool]) -> None:
        """Forget the requests that no longer wait."""
        self._failed = {place: suspect for place, suspect in self._failed.items() if waits(place)}
        self.passed &= self._failed.keys()
