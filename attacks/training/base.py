"""Attacks on the labels: what a party that lacks them reads from the gradients that it gets back while it trains.

That party is a device whose server holds the labels, or the server of a U-shaped split, whose devices keep them. As in
`cutlayer.attacks.view`, the threat model is an object with missing parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutlayer.errors import WithheldError
from cutlayer.metrics.detection import Curve

T = TypeVar("T")


@dataclass(frozen=True)
class LabelView:
    """What the attacker may touch; samples are counted through all steps, in the order in which they were seen.

    Attributes:
        gradients: For each step ``(B, *smashed.shape)`` float32: the gradient of the batch's mean loss at the cut.
        classes: Number of classes.
        seed: Seed of the attacker's own random choices.
        known: The labels that the attacker happens to know, by the number of the sample.
    """

    gradients: tuple[Tensor, ...]
    classes: int
    seed: int = 0
    known: Mapping[int, int] = field(default_factory=dict)
    _smashed: tuple[Tensor, ...] | None = None
    _tail: Callable[[int], nn.Module] | None = None
    _private: Tensor | None = None

    @property
    def smashed(self) -> tuple[Tensor, ...]:
        """The smashed data of each step, ``(B, *smashed.shape)``."""
        return _granted("smashed data", self._smashed)

    @property
    def tail(self) -> Callable[[int], nn.Module]:
        """The other party's model at a step, counted from 0: smashed data, ``(B, ...)``, to logits ``(B, classes)``."""
        return _granted("other party's model", self._tail)

    @property
    def private(self) -> Tensor:
        """Every combination of the other party's own features, ``(M, P)``; its model takes them after the smashed data.

        That model then takes ``(B, D + P)``.
        """
        return _granted("values that the other party's features can have", self._private)

    @property
    def rows(self) -> Tensor:
        """The gradients of all samples, ``(N, D)``."""
        return torch.cat([gradient.flatten(1) for gradient in self.gradients])


def _granted(name: str, value: T | None) -> T:
    if value is None:
        raise WithheldError(f"This view withholds the {name} from the attacker.")
    return value


@dataclass(kw_only=True)
class LabelAttack(ABC):
    """Base of the attacks on labels; a subclass is a dataclass whose fields are its options."""

    plain_words: ClassVar[str]
    """What the attack does, for a reader who does not know the field: a clause that begins with a verb."""

    decides: ClassVar[bool] = True
    """Whether the class of the greatest score is the attack's answer; if not, only the order of the samples counts."""

    @abstractmethod
    def infer(self, view: LabelView) -> Tensor:
        """Score each class for each sample, ``(N, classes)`` float32: greater is more likely.

        Raises:
            ConfigError: The attack cannot be run on so many classes, or knows too few labels.
            WithheldError: The view withholds what the attack needs.
        """


@dataclass(frozen=True)
class LabelScore:
    """How well labels were inferred, on the samples whose labels the attacker did not know.

    Attributes:
        auc: The chance that a sample of class 1 scores above one of class 0, from the raw scores; NaN unless there are
            two classes, both among the samples.
        accuracy: Share of the samples whose class has the greatest score; NaN for an attack that does not decide.
        majority: Share of the most frequent class: what an answer without any gradient reaches.
        n: Number of samples.
    """

    auc: float
    accuracy: float
    majority: float
    n: int


def score(attack: LabelAttack, view: LabelView, labels: NDArray[np.integer]) -> LabelScore:
    """Run an attack and compare it with the labels of all samples, ``(N,)``."""
    scores = attack.infer(view).cpu().double().numpy()
    hidden = np.ones(len(labels), np.bool_)
    hidden[list(view.known)] = False
    scores, labels = scores[hidden], labels[hidden]
    positive = labels == 1
    auc = float("nan")
    if view.classes == 2 and 0 < positive.sum() < len(labels):
        curve = Curve(scores[:, 1] - scores[:, 0], positive)
        auc = float(curve.auc(np.ones((1, len(labels)), np.float32))[0])
    accuracy = float((scores.argmax(1) == labels).mean()) if attack.decides else float("nan")
    return LabelScore(auc, accuracy, float(np.bincount(labels).max() / len(labels)), len(labels))
