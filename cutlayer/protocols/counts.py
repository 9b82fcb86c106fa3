"""Correct answers of each class, from which accuracy under any law of the labels follows without another pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Counts(NamedTuple):
    """The result of a measurement of accuracy.

    Attributes:
        correct: Correctly classified samples of each class, int64.
        total: Samples of each class, int64.
        loss: The sum of the cross-entropies.
    """

    correct: Tensor
    total: Tensor
    loss: float

    def __add__(self, other: object) -> Counts:
        assert isinstance(other, Counts)
        return Counts(self.correct + other.correct, self.total + other.total, self.loss + other.loss)


def counted(logits: Tensor, labels: Tensor, classes: int) -> Counts:
    """The correct answers of each class among logits ``(N, classes)``."""
    right = labels[logits.argmax(1) == labels]
    loss = float(functional.cross_entropy(logits, labels, reduction="sum"))
    return Counts(torch.bincount(right, minlength=classes), torch.bincount(labels, minlength=classes), loss)
