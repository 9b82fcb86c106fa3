"""The numbers of a row, taken apart into columns of words and of numbers, as an attack handles them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from cutlayer.attacks.view import View
from cutlayer.data.modality import Column
from cutlayer.errors import ConfigError
from cutlayer.metrics.columns import wrong_share

LEAST = 1e-4
"""The least share that a guess gives a word: what is certain is not beyond doubt."""


def columns_of(view: View) -> tuple[Column, ...]:
    """The columns of the attacker's own rows.

    Raises:
        ConfigError: The data set does not say what its columns are.
    """
    columns = view.auxiliary.modality.columns
    if not columns:
        raise ConfigError(
            "This attack reads rows column by column, and the data set does not say what its columns are; use a data "
            "set that does, such as bank-marketing or a .csv file, or ridge in its place."
        )
    return columns


class Encoding:
    """Rows ``(N, n)`` as free numbers, the logits of words and the numbers in units of their columns, and back.

    Args:
        columns: What the numbers of a row encode.
        rows: ``(M, n)``: the attacker's own rows, from which the units are taken.
    """

    def __init__(self, columns: Sequence[Column], rows: Tensor) -> None:
        self.columns = columns
        self.words = [slice(c.first, c.stop) for c in columns if c.words]
        self.numbers = torch.tensor([c.first for c in columns if not c.words], dtype=torch.int64, device=rows.device)
        own = rows[:, self.numbers]
        self.center, self.unit = own.median(0).values if own.numel() else own[0], own.std(0).clamp(min=1e-4)

    def decode(self, free: Tensor) -> Tensor:
        """Free numbers ``(N, n)`` to rows: shares of words that sum to 1 in each column, and numbers in [0, 1]."""
        rows = torch.zeros_like(free)
        for part in self.words:
            rows[:, part] = free[:, part].softmax(1)
        numbers = self.center + self.unit * free[:, self.numbers]
        # At its bounds a number keeps its gradient, so that it can leave them.
        rows[:, self.numbers] = numbers + (numbers.clamp(0, 1) - numbers).detach()
        return rows

    def encode(self, rows: Tensor) -> Tensor:
        """Rows ``(N, n)``, of which the words may be shares or rough guesses of them, to free numbers."""
        free = torch.zeros_like(rows)
        for part in self.words:
            shares = rows[:, part].clamp(min=LEAST)
            free[:, part] = (shares / shares.sum(1, keepdim=True)).log()
        free[:, self.numbers] = (rows[:, self.numbers] - self.center) / self.unit
        return free

    def loss(self, free: Tensor, rows: Tensor) -> Tensor:
        """Cross-entropy of each word, and absolute error of each number in units of its column, summed: ``(N,)``."""
        entropies = [
            functional.cross_entropy(free[:, part], rows[:, part].argmax(1), reduction="none") for part in self.words
        ]
        errors = (self.center + self.unit * free[:, self.numbers] - rows[:, self.numbers]) / self.unit
        return torch.stack([*entropies, errors.abs().sum(1)]).sum(0)

    def wrong(self, rows: Tensor, truth: Tensor) -> Tensor:
        """The share of the columns of each row that are wrong, ``(N,)``."""
        return wrong_share(rows, truth, self.columns)
