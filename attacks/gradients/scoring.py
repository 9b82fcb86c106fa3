"""How what an attack makes of an update is compared with the truth: which sample is which, labels, columns of a table.

A batch has no order, so that each recovered sample is paired with a true one first, once for all metrics: a pairing of
its own for each metric, or of each sample with its nearest, would flatter the attack.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cutlayer.data.rows import TOLERANCE
from cutlayer.metrics.nearness import distances


def paired(recovered: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The one-to-one pairing with the least sum of squared errors (the assignment problem, exact).

    Of sentences, whose tokens are whole numbers, it is that with the fewest tokens in other places.

    Args:
        recovered: ``(N, *input.shape)``.
        truth: ``(M, *input.shape)``.

    Returns:
        Positions in `recovered` and in `truth`, ``(min(N, M),)`` int64 each, in ascending order of the second.
    """
    rows, columns = linear_sum_assignment(distances(recovered, truth).cpu().numpy())
    order = np.argsort(columns, kind="stable")
    return torch.from_numpy(rows[order]).long(), torch.from_numpy(columns[order]).long()


def labels_right(recovered: Tensor, truth: Tensor, classes: int) -> float:
    """The share of the labels of one update that were recovered: the sum over classes of min(n, n_true), over B.

    Args:
        recovered: ``(N,)`` int64, in any order.
        truth: ``(B,)`` int64, in any order.
        classes: Number of classes.
    """
    found, true = (torch.bincount(labels, minlength=classes) for labels in (recovered, truth))
    return float(torch.minimum(found, true).sum()) / len(truth)


def features(rows: NDArray[np.float32]) -> tuple[slice, ...]:
    """The columns of a table that make one feature each: a number alone, or the flags of one word, of which one is 1.

    Args:
        rows: ``(N, columns)``, of which the flags are recognized: neighbors of 0 and 1 whose sum is 1 in each row.
    """
    flags, found, first = ((rows == 0) | (rows == 1)).all(0), list[slice](), 0
    while first < len(flags):
        one = (rows[:, first:].cumsum(1) == 1).all(0) & np.logical_and.accumulate(flags[first:])
        found.append(slice(first, first + 1 + int(one.argmax()) if one.any() else first + 1))
        first = found[-1].stop
    return tuple(found)


def features_right(recovered: Tensor, truth: Tensor, of: Sequence[slice], spread: Tensor) -> Tensor:
    """Which features of each row are right, ``(N, features)`` bool.

    A number is right within `TOLERANCE` standard deviations of its column; a word, where its flag is the greatest.

    Args:
        recovered: ``(N, columns)``.
        truth: ``(N, columns)``, in the same order.
        of: What `features` gives.
        spread: ``(columns,)``: the standard deviation of each column.
    """
    right = [
        (recovered[:, part] - truth[:, part]).abs()[:, 0] <= TOLERANCE * spread[part]
        if part.stop - part.start == 1
        else recovered[:, part].argmax(1) == truth[:, part].argmax(1)
        for part in of
    ]
    return torch.stack(right, 1)
