"""When requests are due."""

from __future__ import annotations

import time
from math import inf

from cutlayer.errors import ConfigError


class Pace:
    """Requests at a fixed rate, or each as soon as the one before is finished.

    The schedule does not wait for a late request: the next ones are due all the same, and begin late. Their response
    times count from when they were due, or else a slow server would be asked less often just while it is slow, and its
    percentiles would look better than what a user sees ("coordinated omission").

    Args:
        rate: Requests per second; None for each after the one before.

    Attributes:
        due: What decides, as text; empty without a rate.

    Raises:
        ConfigError: The rate is not above 0.
    """

    def __init__(self, rate: float | None) -> None:
        if rate is not None and not 0 < rate < inf:
            raise ConfigError(f"--rate must be a number of requests per second above 0; {rate:g} was given.")
        self.due = "" if rate is None else f"{rate:g} per second"
        self._rate, self._start_ns = rate, 0

    def start(self) -> None:
        """Begin the schedule: the first request is due now."""
        self._start_ns = time.monotonic_ns()

    def await_turn(self, number: int) -> int | None:
        """Wait until the request with this number, from 0, is due; return that time (`time.monotonic_ns`), if any."""
        if self._rate is None:
            return None
        due_ns = self._start_ns + round(number * 1e9 / self._rate)
        if (early_ns := due_ns - time.monotonic_ns()) > 0:
            time.sleep(early_ns / 1e9)
        return due_ns
