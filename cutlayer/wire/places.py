"""Places that several parties take and leave, so that none can take so many that no others get any.

A party may take a place while it holds fewer than `SHARE` times the free ones. So one party alone gets three quarters
of the places, two get three sevenths each, and in every case some stay free for the next one to come. The rule is that
of shared memory in switches: A. K. Choudhury and E. L. Hahne, "Dynamic queue length thresholds for shared-memory packet
switches", IEEE/ACM Transactions on Networking 6(2), 1998, with their alpha as `SHARE`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable

SHARE = 3


def may_take(held: int, free: int) -> bool:
    """Return whether a party that holds this many places may take one more."""
    return free > 0 and held < SHARE * free


class Places:
    """A number of places. Any thread may use them.

    Args:
        total: Number of all places.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._held: Counter[Hashable] = Counter()
        self._free = total
        self._lock = threading.Lock()

    def take(self, party: Hashable) -> bool:
        """Take a place and return True, unless none is left for this party."""
        with self._lock:
            if not may_take(self._held[party], self._free):
                return False
            self._held[party] += 1
            self._free -= 1
            return True

    def leave(self, party: Hashable) -> None:
        """Give back a place."""
        with self._lock:
            self._free += 1
            self._held[party] -= 1
            if not self._held[party]:
                del self._held[party]
