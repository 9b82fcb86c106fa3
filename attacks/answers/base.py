"""Bases of the attacks on a model's answers and weights.

A `ClassAttack` shows what the samples of each class that the victim was trained on look like. An `AnswerAttack`
rebuilds the inputs behind answers that it has seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from cutlayer.attacks.answers.view import ClassView, Reply


@dataclass(kw_only=True)
class ClassAttack(ABC):
    """Base of the attacks that represent classes; a subclass is a dataclass whose fields are its options."""

    plain_words: ClassVar[str]
    """What the attack does, for a reader who does not know the field: a clause that begins with a verb."""

    needs: ClassVar[Reply]
    """The least that the attacker must get of the victim."""

    is_floor: ClassVar[bool] = False
    """Whether any attack that learns something of the victim's samples does better."""

    @abstractmethod
    def represent(self, view: ClassView, k: int) -> Tensor:
        """Show k samples of each of `view.targets`, ``(targets, k, *input.shape)`` float32 in the range of the inputs.

        Where a class is never reached, the attack shows the best that it has.

        Raises:
            ConfigError: The attack cannot be run on such a victim; the message says why, and what it takes.
            WithheldError: The view withholds what the attack needs.
        """


class Seen(NamedTuple):
    """What is observed of N questions of a victim, whose inputs an attack rebuilds.

    Attributes:
        scores: ``(N, classes)`` log-probabilities, `cutlayer.defenses.answers.base.UNTOLD` where nothing is told.
        explanations: ``(N, 1, H, W)``: the explanation of each answer; None where the service gives none.
        masked: ``(N, *input.shape)``: the inputs with their hidden part black; None where nothing of them is seen.
        mask: ``(1, 1, H, W)`` bool, true where an input is hidden; None without `masked`.
    """

    scores: Tensor
    explanations: Tensor | None = None
    masked: Tensor | None = None
    mask: Tensor | None = None


@dataclass(kw_only=True)
class AnswerAttack(ABC):
    """Base of the attacks that rebuild inputs from answers; a subclass is a dataclass whose fields are its options."""

    plain_words: ClassVar[str]
    """What the attack does, for a reader who does not know the field: a clause that begins with a verb."""

    needs: ClassVar[Reply] = Reply.SCORES
    """The least that the attacker must get of the victim."""

    is_floor: ClassVar[bool] = False
    """Whether any attack that learns something from an answer beside the class does better."""

    sees_masked: ClassVar[bool] = False
    """Whether the attacker sees the inputs as well, but for a hidden part."""

    @abstractmethod
    def invert(self, view: ClassView, seen: Seen) -> Tensor:
        """Rebuild the inputs, ``(N, *input.shape)`` float32 in the range of the inputs.

        Raises:
            ConfigError: The attack cannot be run on what was seen; the message says why, and what it takes.
            WithheldError: The view withholds what the attack needs.
        """
