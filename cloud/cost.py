"""How long the tail takes for a batch, learned from the batches that it has computed."""

from __future__ import annotations

import math

KEPT = 0.95
"""Weight of the earlier batches, at each new one."""


class Cost:
    """A line through the times of recent batches: a part that each batch takes, and one for each sample."""

    def __init__(self) -> None:
        self._weight = self._n = self._s = self._nn = self._ns = 0.0
        self._each_s = self._fixed_s = 0.0

    @property
    def known(self) -> bool:
        """Whether any batch was computed."""
        return self._weight > 0

    def observe(self, n: int, seconds: float) -> None:
        """Learn from a batch of n samples."""
        if self._weight > 1:
            # A batch that was interrupted by other work says little about the next one.
            seconds = min(seconds, 2 * self.of(n))
        self._weight = KEPT * self._weight + 1
        self._n = KEPT * self._n + n
        self._s = KEPT * self._s + seconds
        self._nn = KEPT * self._nn + n * n
        self._ns = KEPT * self._ns + n * seconds
        spread = self._weight * self._nn - self._n * self._n
        if spread > 1e-9 * self._nn:
            self._each_s = (self._weight * self._ns - self._n * self._s) / spread
            self._fixed_s = (self._s - self._each_s * self._n) / self._weight
        if self._each_s < 0:
            self._each_s, self._fixed_s = 0.0, self._s / self._weight
        elif self._fixed_s < 0 or spread <= 1e-9 * self._nn:
            # As long as all are of one size, or a line would begin below zero, the time is in proportion.
            self._each_s, self._fixed_s = self._ns / self._nn, 0.0

    def of(self, n: int) -> float:
        """Return the seconds that a batch of n samples takes; 0 if none was computed."""
        return self._fixed_s + self._each_s * n

    def most(self, seconds: float) -> int:
        """Return the most samples of a batch that takes this long.

        While all batches are of one size, twice that size, so that the line becomes known.
        """
        if self._each_s <= 0:
            return 1 << 30
        mean = self._n / self._weight
        of_one_size = self._nn / self._weight - mean * mean < 0.01 * mean
        return max(2 * round(mean) if of_one_size else 0, math.floor((seconds - self._fixed_s) / self._each_s + 1e-9))
