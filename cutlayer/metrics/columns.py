"""How much of a row of a table was read: the share of its columns, and whether all of them are right.

A word is right where its number is the greatest of those of its column; a number, within the tolerance of its column,
which is 0.319 standard deviations (M. Vero et al., "TabLeak", ICML 2023, https://arxiv.org/abs/2210.01785).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cutlayer.data.modality import Column
from cutlayer.metrics.base import Metric

if TYPE_CHECKING:
    from torch import Tensor


def right_columns(reconstructions: Tensor, originals: Tensor, columns: Sequence[Column]) -> Tensor:
    """Which columns of each row are right, ``(N, columns)`` bool.

    Args:
        reconstructions: ``(N, n)`` in [0, 1]; the numbers of a column of words may be shares.
        originals: ``(N, n)``, in the same order.
        columns: What the numbers of a row encode.
    """
    import torch

    right = []
    for column in columns:
        guess, true = (rows[:, column.first : column.stop] for rows in (reconstructions, originals))
        if column.words:
            right.append(guess.argmax(1) == true.argmax(1))
        else:
            right.append(((guess - true).abs() * (column.high - column.low) <= column.tolerance)[:, 0])
    return torch.stack(right, 1)


def wrong_share(reconstructions: Tensor, originals: Tensor, columns: Sequence[Column]) -> Tensor:
    """The share of the columns of each row that are wrong, ``(N,)``."""
    return 1 - right_columns(reconstructions, originals, columns).float().mean(1)


def _share(reconstructions: Tensor, originals: Tensor, *_: Tensor, columns: Sequence[Column]) -> Tensor:
    return right_columns(reconstructions, originals, columns).float().mean(1)


def _exact(reconstructions: Tensor, originals: Tensor, *_: Tensor, columns: Sequence[Column]) -> Tensor:
    return right_columns(reconstructions, originals, columns).all(1).float()


COLUMNS_RIGHT = Metric(
    "Columns read",
    "share of the columns of a row that were read rightly: a word, or a number within 0.319 standard deviations of its "
    "column; the mean over rows.",
    "high", _share, unit="%", digits=1, factor=100, modalities=("table",), needs=("columns",),
)  # fmt: skip
ROWS_EXACT = Metric(
    "Rows read", "share of the rows of which every column was read rightly.",
    "high", _exact, unit="%", digits=1, factor=100, modalities=("table",), of_yes_or_no=True, needs=("columns",),
)  # fmt: skip
