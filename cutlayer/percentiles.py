"""Percentiles, and how many samples each one needs before it is given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Samples needed before a percentile is printed: MLPerf's binomial rule at 99 % confidence.
LEAST_SAMPLES = {50: 1, 90: 44, 95: 90, 99: 459, 99.9: 4603}


PERCENTILES = tuple(f"p{q}" for q in LEAST_SAMPLES)
"""Names of all percentiles, in their order."""


def percentile(samples: NDArray[np.int64], q: float) -> int | None:
    """A percentile that was observed, or None when too few samples stand behind it."""
    if len(samples) < LEAST_SAMPLES[q]:
        return None
    return int(np.percentile(samples, q, method="inverted_cdf"))


def percentiles(samples: NDArray[np.int64]) -> dict[str, int | None]:
    """Every percentile by its name, None where too few samples stand behind it."""
    return {f"p{q}": percentile(samples, q) for q in LEAST_SAMPLES}
