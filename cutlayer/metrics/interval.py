"""Estimates with their number of samples and a 95 % interval."""

from collections.abc import Callable
from math import ceil, floor, nan, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cutlayer.records.run import Estimate

_CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
_RESAMPLES = 4000
_CHUNK = 1 << 20
"""Sample numbers drawn at a time, so that memory stays small for any number of samples."""


def bootstrap(
    samples: NDArray[np.floating], seed: int, statistic: Callable[..., NDArray[np.float64]] = np.mean
) -> Estimate:
    """A statistic of independent samples with its percentile bootstrap interval (Efron, Annals of Statistics, 1979).

    Args:
        samples: ``(N,)``, infinite ones allowed.
        seed: Seed of the resampling.
        statistic: A function that reduces the axis named ``axis``, as `numpy.mean` and `numpy.median` do.
    """
    return resampled(lambda index: statistic(samples[index], axis=-1), len(samples), seed)


def proportion(successes: int, n: int) -> Estimate:
    """A share with its score interval (Wilson, JASA, 1927), which stays within [0, 1] and is honest at 0 and n."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} of {n} is no proportion")
    share = successes / n
    center = (share + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    reach = _Z / (1 + _Z * _Z / n) * sqrt(share * (1 - share) / n + _Z * _Z / (4 * n * n))
    return Estimate(share, n, max(0.0, center - reach), min(1.0, center + reach))


def exact_proportion(successes: float, n: int, confidence: float = _CONFIDENCE) -> Estimate:
    """A share with its exact interval (Clopper and Pearson, Biometrika, 1934), which covers at least as often.

    Args:
        successes: From 0 to n. Where ties give a part of a success, the lower end is that of the whole number below,
            and the upper end that of the one above.
        n: Number of samples, at least 1.
        confidence: Of the interval; at 0.9 each of its ends holds with 95 %.
    """
    from scipy.special import betaincinv

    successes = round(successes, 6)
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes:g} of {n} is no proportion")
    tail, least, most = (1 - confidence) / 2, floor(successes), ceil(successes)
    low = float(betaincinv(least, n - least + 1, tail)) if least else 0.0
    high = float(betaincinv(most + 1, n - most, 1 - tail)) if most < n else 1.0
    return Estimate(successes / n, n, low, high)


def paired_change(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Estimate:
    """The change of a share between two answers to each sample, with the interval of Agresti and Min (2005).

    Only the samples that one of the two has right and the other wrong count, so that the interval is narrower than that
    of two shares of different samples. Half a sample is added to each of the four counts: the interval has a width even
    where the two never differ ("Wald+2", Statistics in Medicine 24(5), 729-740).

    Args:
        before: Whether the first answer to each sample is right, ``(N,)``.
        after: Whether the second is, in the same order.
    """
    n = len(before)
    if len(after) != n or n == 0:
        raise ValueError(f"{n} and {len(after)} answers do not pair")
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    center = (gained - lost) / (n + 2)
    variance = (gained + lost + 1 - (gained - lost) ** 2 / (n + 2)) / (n + 2) ** 2
    reach = _Z * sqrt(variance)
    return Estimate((gained - lost) / n, n, max(-1.0, center - reach), min(1.0, center + reach))


def resampled(
    statistic: Callable[[NDArray[np.intp]], NDArray[np.float64]], n: int, seed: int, confidence: float = _CONFIDENCE
) -> Estimate:
    """An estimate of a statistic that is a function of sample numbers, ``(..., n)`` -> ``(...)``."""
    if n == 0:
        raise ValueError("no samples")
    value = float(statistic(np.arange(n)))
    if n == 1:
        return Estimate(value, 1, nan, nan)
    rng, rows = np.random.default_rng(seed), max(1, _CHUNK // n)
    chunks = (min(rows, _RESAMPLES - first) for first in range(0, _RESAMPLES, rows))
    values = np.concatenate([statistic(rng.integers(n, size=(chunk, n))) for chunk in chunks])
    tail = (1 - confidence) / 2
    # A value that occurred, and no mean of two values, which an infinite score does not have.
    low, high = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
    return Estimate(value, n, float(low), float(high))
