"""What a server that trains with a client may touch, to rebuild the client's inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cutlayer.data.splits import Dataset
from cutlayer.errors import WithheldError
from cutlayer.spec import TensorSpec

CPU = torch.device("cpu")


@dataclass(frozen=True)
class TrainingView:
    """What the attacker may touch beside what arrives.

    Attributes:
        input: One input of the client.
        smashed: What one input becomes at the cut.
        classes: Number of classes.
        auxiliary: The attacker's own labelled inputs, disjoint from those of the clients.
        seed: Seed of the attacker's own random choices.
        device: Where the attacker computes.
    """

    input: TensorSpec
    smashed: TensorSpec
    classes: int
    auxiliary: Dataset
    seed: int = 0
    device: torch.device = CPU
    _new_head: Callable[[], nn.Module] | None = None

    @property
    def new_head(self) -> Callable[[], nn.Module]:
        """Builds a head of the client's architecture, with weights of its own."""
        if self._new_head is None:
            raise WithheldError("This view withholds the architecture of the head from the attacker.")
        return self._new_head


@dataclass(kw_only=True)
class TrainingAttack(ABC):
    """Base of the attacks of a server that rebuilds inputs while it trains.

    A subclass is a dataclass, and its fields are its options. What it learns goes into attributes whose names begin
    with ``_``.
    """

    plain_words: ClassVar[str]
    """What the attack does, for a reader who does not know the field: a clause that begins with a verb."""

    @abstractmethod
    def begin(self, view: TrainingView) -> None:
        """Get ready, before the first step."""

    @abstractmethod
    def step(self, smashed: Tensor, labels: Tensor | None, tail: nn.Module) -> Tensor | None:
        """Learn from one batch of a client.

        Args:
            smashed: ``(B, *smashed.shape)`` as it arrived.
            labels: ``(B,)``; None where they stay with the client.
            tail: The server's model as it is before this step. It stays as it is.

        Returns:
            The gradient that the server answers with, of the form of that of a batch's mean loss; None for the honest
            one.
        """

    @abstractmethod
    def invert(self, smashed: Tensor) -> Tensor:
        """Reconstruct inputs, ``(N, *smashed.shape)`` -> ``(N, *input.shape)`` float32 in [0, 1]."""
