"""What a metric has of the evaluation classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Judge:
    """An evaluation classifier.

    Attributes:
        title: What it is, on what it was trained, and how often it is right about real images, as a sentence.
        features: ``(N, C, H, W)`` in [0, 1] -> what the last layer takes, ``(N, D)``.
        logits: ``(N, D)``, features -> ``(N, classes)``.
    """

    title: str
    features: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor], Tensor]
