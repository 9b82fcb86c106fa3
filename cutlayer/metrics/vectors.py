"""How near the vectors that a server answers stay to those of the whole model, when a defense stands in between.

A vector, such as that of a sentence, is neither right nor wrong. What is done with it is to compare it with others by
the cosine, so that this is what has to stay: the cosine between the two vectors of an input, and which other input is
the nearest one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.metrics.interval import bootstrap, proportion
from cutlayer.records.run import Vectors

TOGETHER = 512
"""Vectors that are compared with all others at a time."""
ALIKE = 1e-6
"""Difference of two cosines that rounding may make: of two others that are equally near, either is the nearest."""


def vectors(behind: NDArray[Any], whole: NDArray[Any], seed: int) -> Vectors:
    """What is left of vectors.

    Args:
        behind: Those that are answered, ``(N, width)``.
        whole: Those of the model without a defense for the same inputs, ``(N, width)``.
        seed: Seed of the interval of the cosine.
    """
    ours, theirs = _unit(behind), _unit(whole)
    n = len(theirs)
    cosines = np.clip((ours * theirs).sum(1), -1, 1)
    same = None if n < 2 else proportion(_same_nearest(ours, theirs), n)
    # The sum over all pairs is the square of the sum, of which each vector with itself is no pair.
    apart = float("nan") if n < 2 else float((np.square(theirs.sum(0)).sum() - np.square(theirs).sum()) / (n * (n - 1)))
    return Vectors(cosine=bootstrap(cosines, seed), same_nearest=same, apart=apart)


def _same_nearest(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> int:
    """The number of inputs whose nearest other one among `ours` is one of the nearest among `theirs`."""
    kept = 0
    for first in range(0, len(ours), TOGETHER):
        rows = np.arange(first, min(first + TOGETHER, len(ours)))
        near, true = ours[rows] @ ours.T, theirs[rows] @ theirs.T
        own = np.arange(len(rows)), rows
        near[own] = true[own] = -np.inf
        kept += int((true[np.arange(len(rows)), near.argmax(1)] >= true.max(1) - ALIKE).sum())
    return kept


def _unit(given: NDArray[Any]) -> NDArray[np.float64]:
    """Vectors of length 1; one of length 0 stays as it is, and has the cosine 0 with all others."""
    rows = given.reshape(len(given), -1).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
