"""Percentiles, and how many samples each one needs before it is given."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# Samples needed before a percentile is printed: MLPerf's binomial rule at 99 % confidence.
LEAST_SAMPLES = {50: 1, 90: 44, 95: 90, 99: 459, 99.9: 4603}


PERCENTILES = tuple(f"p{q}" for q in LEAST_SAMPLES)
"""Names of all percentiles, in their order."""


LEAST_FOR_INTERVAL = 6
"""Samples without which no interval between two of them holds the median with 95 %."""


def median_interval(samples: NDArray[np.int64]) -> tuple[int, int] | None:
    """The 95 % interval of the median between two order statistics, for independent samples of any distribution.

    The ranks are those of the normal approximation, rounded outwards, so that it covers the median at least as often
    (Conover, Practical Nonparametric Statistics, 1999). None where there are too few samples.
    """
    n = len(samples)
    if n < LEAST_FOR_INTERVAL:
        return None
    reach = 1.96 * math.sqrt(n) / 2
    ordered = np.sort(samples)
    return int(ordered[max(math.floor(n / 2 - reach) - 1, 0)]), int(ordered[min(math.ceil(n / 2 + reach), n - 1)])


def percentile(samples: NDArray[np.int64], q: float) -> int | None:
    """A percentile that was observed, or None when too few samples stand behind it."""
    if len(samples) < LEAST_SAMPLES[q]:
        return None
    return int(np.percentile(samples, q, method="inverted_cdf"))


def percentiles(samples: NDArray[np.int64]) -> dict[str, int | None]:
    """Every percentile by its name, None where too few samples stand behind it."""
    return {f"p{q}": percentile(samples, q) for q in LEAST_SAMPLES}
