"""What an attacker on updates may touch: one object for each update, and one for all else.

The aggregator of models sees what each client sends up: the gradient of one batch, or the change of the weights by
some steps of training. As in `cutlayer.attacks.view`, the threat model is an object with missing parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from cutlayer.data.splits import Dataset
from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.errors import WithheldError
from cutlayer.spec import TensorSpec

T = TypeVar("T")
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One update of one client, and how it was made.

    Attributes:
        update: What arrived, by name of the parameter: without `local_steps` the gradient of the mean cross-entropy of
            the client's batch, else its weights after its local steps minus those before.
        samples: Number of samples that the update is from.
        local_steps: Number of the client's optimizer steps; 0 for a gradient.
        batch: Samples in each local step; of no account for a gradient.
        lr: Learning rate of the local steps; of no account for a gradient.
        optimizer: Optimizer of the local steps: sgd, adam or adamw.
        round: Number of rounds that the model had been trained for.
        eval_mode: Whether the client computed with the model in evaluation mode.
    """

    update: Mapping[str, Tensor]
    samples: int
    local_steps: int = 0
    batch: int = 0
    lr: float = 0.0
    optimizer: str = "sgd"
    round: int = 0
    eval_mode: bool = True
    _model: nn.Module | None = None

    @property
    def model(self) -> nn.Module:
        """The model that the client began from, ``(N, *input.shape)`` to logits ``(N, classes)``; leave it as it is."""
        return _granted("broadcast model", self._model)


@dataclass(frozen=True, kw_only=True)
class UpdateView:
    """What the attacker may touch beside the updates.

    Attributes:
        input: One input of the model.
        classes: Number of classes.
        auxiliary: The attacker's own labelled inputs, disjoint from those of the clients.
        seed: Seed of the attacker's own random choices.
        device: Where the attacker computes.
        among: Number of clients among whose updates the defense mixes each; 1 where the attacker sees what one client
            makes, or the sum of all.
    """

    input: TensorSpec
    classes: int
    auxiliary: Dataset
    seed: int = 0
    device: torch.device = CPU
    among: int = 1
    _labels: tuple[Tensor, ...] | None = None
    _defense: UpdateDefense | None = None
    _new_model: Callable[[], nn.Module] | None = None

    @property
    def labels(self) -> tuple[Tensor, ...]:
        """The labels of the samples of each update, ``(B,)`` int64, in the order of the updates."""
        return _granted("labels", self._labels)

    @property
    def knows_labels(self) -> bool:
        """Whether `labels` are granted."""
        return self._labels is not None

    @property
    def defense(self) -> UpdateDefense:
        """The clients' defense with its options: what an adaptive attacker knows. Its random draws stay unknown."""
        return _granted("clients' defense", self._defense)

    @property
    def knows_defense(self) -> bool:
        """Whether `defense` is granted."""
        return self._defense is not None

    @property
    def new_model(self) -> Callable[[], nn.Module]:
        """Builds a model of the clients' architecture, with weights of its own."""
        return _granted("architecture of the model", self._new_model)


def _granted(name: str, value: T | None) -> T:
    if value is None:
        raise WithheldError(f"This view withholds the {name} from the attacker.")
    return value
