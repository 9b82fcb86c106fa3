"""How well scores tell positives from negatives.

The measures are the area under the ROC curve (AUC), and the rate of true positives where few negatives are taken for
positives, each with the interval of a bootstrap over whole groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from cutlayer.records.run import Estimate

RESAMPLES = 1000
FALSE_POSITIVES = (0.01, 0.001)
"""The rates of false positives at which the rate of true positives is stated, where there are negatives enough."""
_CHUNK = 1 << 22

Weights = NDArray[np.float32]
"""How often each sample counts in each of B resamples, ``(B, N)``."""


class Curve:
    """The ROC curve of scores, sorted once for all resamples.

    Args:
        scores: ``(N,)``, greater for a sample that is more likely positive. Equal scores are not told apart.
        positive: ``(N,)``, whether each sample is positive.
    """

    def __init__(self, scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ordered = scores[self._order]
        self._first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # of each run of equal scores
        self._positive = positive[self._order].astype(np.float32)

    def _steps(self, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positives and negatives of each score, from the greatest score down, ``(B, S)`` each."""
        sorted_weights = weights[:, self._order]
        found = np.add.reduceat(sorted_weights * self._positive, self._first, axis=1, dtype=np.float64)
        return found, np.add.reduceat(sorted_weights, self._first, axis=1, dtype=np.float64) - found

    def auc(self, weights: Weights) -> NDArray[np.float64]:
        """The chance that a positive has a greater score than a negative, half of it for equal ones: ``(B,)``."""
        found, false = self._steps(weights)
        below = false.sum(1, keepdims=True) - false.cumsum(1)
        pairs = found.sum(1) * false.sum(1)
        wins = (found * (below + false / 2)).sum(1)
        return _ratio(wins, pairs)

    def true_positives(self, weights: Weights, rate: float) -> NDArray[np.float64]:
        """The greatest share of positives that a threshold finds which takes at most this share of negatives: (B,)."""
        found, false = self._steps(weights)
        allowed = false.cumsum(1) <= rate * false.sum(1, keepdims=True) + 1e-9
        most = np.where(allowed, found.cumsum(1), 0).max(1)
        total = found.sum(1)
        return _ratio(most, total)


@dataclass(frozen=True)
class Detected:
    """How well scores detect something, and how much better than a baseline; see `detected`.

    Attributes:
        auc: AUC; with several columns the mean over those that have positives and negatives.
        baseline: AUC of the baseline on the same samples.
        over: The first less the second, in the same resamples.
        at: For each rate in `FALSE_POSITIVES` the rate of true positives; None where there are too few negatives to
            state it, or several columns.
    """

    auc: Estimate
    baseline: Estimate
    over: Estimate
    at: tuple[Estimate | None, ...]


def detected(
    scores: NDArray[np.floating],
    baseline: NDArray[np.floating],
    positive: NDArray[np.bool_],
    units: NDArray[np.integer],
    seed: int,
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]] | None = None,
) -> Detected:
    """Compare scores with those of a baseline, with 95 % intervals (percentiles of a bootstrap over whole groups).

    Args:
        scores: ``(N, K)``, greater for a sample that is more likely of column k.
        baseline: Likewise, of the baseline; equal numbers for one that knows nothing.
        positive: ``(N, K)``, whether a sample is of column k.
        units: ``(M,)`` whole numbers, equal for inputs that do not count as independent.
        seed: Seed of the resampling.
        pairs: For samples that are pairs of inputs, the two inputs of each, ``(N,)``; inputs themselves when None.
    """
    _, unit = np.unique(units, return_inverse=True)
    n_units = int(unit.max()) + 1
    curves = [[Curve(of[:, k], positive[:, k]) for k in range(positive.shape[1])] for of in (scores, baseline)]

    def values(counts: NDArray[np.float32]) -> NDArray[np.float64]:
        """AUC, baseline, difference, and the rates of true positives, ``(B, 3 + rates)``."""
        weights = _weights(counts, unit, pairs)
        auc, floor = (_mean(np.stack([curve.auc(weights) for curve in of])) for of in curves)
        rates = [curves[0][0].true_positives(weights, rate) for rate in FALSE_POSITIVES]
        return np.stack([auc, floor, auc - floor, *rates], 1)

    rng, rows = np.random.default_rng(seed), max(1, _CHUNK // len(positive))
    chunks = (min(rows, RESAMPLES - first) for first in range(0, RESAMPLES, rows))
    drawn = [
        values(rng.multinomial(n_units, np.full(n_units, 1 / n_units), size).astype(np.float32)) for size in chunks
    ]
    value = values(np.ones((1, n_units), np.float32))[0]
    known = np.concatenate(drawn)
    known = known[~np.isnan(known).any(1)]
    low, high = (
        np.quantile(known, [0.025, 0.975], axis=0) if n_units > 1 and len(known) else np.full((2, len(value)), nan)
    )
    auc, floor, over, *found = (
        Estimate(float(v), len(units), float(a), float(b)) for v, a, b in zip(value, low, high, strict=True)
    )
    negatives = int((~positive[:, 0]).sum())
    at = tuple(
        estimate if positive.shape[1] == 1 and negatives * rate >= 1 else None
        for rate, estimate in zip(FALSE_POSITIVES, found, strict=True)
    )
    return Detected(auc, floor, over, at)


def _weights(
    counts: NDArray[np.float32], unit: NDArray[np.intp], pairs: tuple[NDArray[np.intp], NDArray[np.intp]] | None
) -> Weights:
    """How often each sample counts where each unit was drawn so many times.

    A pair of two units counts as often as one was drawn times the other, and a pair within a unit as often as the unit:
    the copies of a unit that was drawn twice make no pairs with each other.
    """
    if pairs is None:
        return counts[:, unit]
    first, second = unit[pairs[0]], unit[pairs[1]]
    return counts[:, first] * np.where(first == second, np.float32(1), counts[:, second])


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of ``(K, B)`` over the columns that are known, ``(B,)``; NaN where none is."""
    known = ~np.isnan(values)
    count = known.sum(0)
    return _ratio(np.where(known, values, 0).sum(0), count.astype(np.float64))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """The one by the other; NaN where that is 0."""
    ratio: NDArray[np.float64] = np.divide(part, whole, out=np.full(len(part), nan), where=whole > 0)
    return ratio
