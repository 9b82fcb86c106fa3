"""Base of the detectors: a client watches the gradients that it gets, and says how much they look like an attack."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Watched:
    """One step, as the client sees it.

    Attributes:
        gradient: ``(B, *smashed.shape)``, the gradient at the cut as it arrived.
        labels: ``(B,)``, the labels that were sent with the batch.
        first_layer: ``(P,)``, the gradient of the weights of the client's first layer, which follows from `gradient`.
        true_labels: ``(B,)``, the labels that belong to the batch.
    """

    gradient: Tensor
    labels: Tensor
    first_layer: Tensor
    true_labels: Tensor

    @property
    def is_fake(self) -> bool:
        """Whether other labels were sent than those that belong to the batch."""
        return bool((self.labels != self.true_labels).any())


@dataclass(kw_only=True)
class Detector(ABC):
    """Base of the detectors; a subclass is a dataclass whose fields are its options.

    It is fed every step in their order, and keeps what it needs in attributes whose names begin with ``_``.
    """

    plain_words: ClassVar[str]
    """What the detector does, for a reader who does not know the field: a clause that begins with a verb."""

    def sent_labels(self, labels: Tensor, classes: int, step: int, rng: np.random.Generator) -> Tensor:
        """The labels to send with a batch, ``(B,)``; a client takes no step where they are not the true ones."""
        return labels

    @abstractmethod
    def watch(self, step: Watched) -> float | None:
        """Take in a step; return the suspicion after it, greater for an attack, and None before there is one."""
