"""How long the tail takes for a batch, learned from the batches that it has computed."""

from __future__ import annotations

import math

KEPT = 0.95
"""Weight of the earlier batches, at each new one."""


class Cost:
    """A line through the times of recent batches: a part that each batch takes, and one for each sample."""

    def __init__(self) -> None:
        self._weight = self._n = self._s = self._nn = self._ns = 0.0
        self._known = 0

    def observe(self, n: int, seconds: float) -> None:
        """Learn from a batch of n samples."""
        if self._weight > 1:
            # A batch that was interrupted by other work says little about the next one.
            seconds = min(seconds, 2 * self.of(n))
        added = (1.0, n, seconds, n * n, n * seconds)
        before = (self._weight, self._n, self._s, self._nn, self._ns)
        self._weight, self._n, self._s, self._nn, self._ns = (
            KEPT * old + new for old, new in zip(before, added, strict=True)
        )

    def of(self, n: int) -> float:
        """Return the seconds that a batch of n samples takes; 0 if none was computed."""
        each_s, fixed_s = self._line()
        return fixed_s + each_s * n

    def most(self, seconds: float) -> int:
        """Return the most samples of a batch that takes this long.

        While all batches are of one size, twice that size, so that the line becomes known.
        """
        each_s, fixed_s = self._line()
        size = self._n / self._weight if self._weight else 1.0
        at_least = 2 * round(size) if self._nn / max(self._weight, 1) - size * size < 0.01 * size else 0
        if not each_s:
            return 1 << 30
        return max(at_least, math.floor((seconds - fixed_s) / each_s + 1e-9))

    def _line(self) -> tuple[float, float]:
        """Return the seconds for each sample, and for each batch."""
        if not self._weight:
            return 0.0, 0.0
        spread = self._weight * self._nn - self._n * self._n
        each_s = (self._weight * self._ns - self._n * self._s) / spread if spread > 1e-9 * self._nn else math.inf
        fixed_s = (self._s - each_s * self._n) / self._weight
        if each_s <= 0:
            return 0.0, self._s / self._weight
        # As long as all are of one size, or a line would begin below zero, the time is in proportion.
        return (each_s, fixed_s) if fixed_s >= 0 else (self._ns / self._nn, 0.0)
