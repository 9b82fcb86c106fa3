"""Base of the defenses of answers: what a model's replies, or its weights, tell of the samples it was trained on.

A defense may act at four places, and each method below is one of them: the architecture, the training, what the server
learns after the training, and the reply. A method that a defense does not override changes nothing.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

    from cutlayer.data.splits import Dataset
    from cutlayer.spec import TensorSpec


UNTOLD = -1000.0
"""The log-probability of a class that a reply does not tell, or tells as 0."""


@dataclass(kw_only=True)
class AnswerDefense(ABC):
    """Base of the defenses of answers; a subclass is a dataclass whose fields are its options."""

    _learned: dict[str, NDArray[Any]] = field(init=False, repr=False, compare=False, default_factory=dict)

    knob: ClassVar[str]
    """Name of the option that says how strong the defense is; at 0 everything stays as it is, bit for bit.

    Empty for one that has no degrees, such as one that tells the label only.
    """

    plain_words: ClassVar[str]
    """What the defense does, for a reader who does not know the field: a clause that begins with a verb."""

    label_only: ClassVar[bool] = False
    """Whether replies tell the class and nothing else."""

    adaptive: ClassVar[tuple[str, ...]] = ()
    """The attacks that are made for whoever knows of it: ``smi``, or ``margin.draws`` where that option is stated.

    The figures of a defense that none of them has met say what it does to those who do not know of it. Empty where no
    attack is adapted to the defense.
    """

    @property
    def on(self) -> bool:
        """Whether the defense does anything."""
        return bool(self.knob and getattr(self, self.knob)) or self.label_only

    @property
    def answers(self) -> bool:
        """Whether the defense is on and acts on replies."""
        return self.on and type(self).answer is not AnswerDefense.answer

    def rebuilt(self, model: nn.Module, input: TensorSpec, classes: int, seed: int) -> nn.Module:
        """The network that is trained in place of `model`, which may be changed and used for it.

        Args:
            model: ``(N, *input.shape)`` to logits ``(N, classes)``, not yet trained.
            input: One input.
            classes: Number of outputs.
            seed: Seed of new weights.
        """
        return model

    def train(
        self, model: nn.Module, data: Dataset, public: Dataset, *, epochs: int, seed: int, lr: float = 2e-3
    ) -> None:
        """Train the network, in place; as it is, by `cutlayer.training.train`.

        Args:
            model: What `rebuilt` returned.
            data: The victim's training part.
            public: Labelled samples of the same domain, which the attacker has too; their labels are numbers of their
                own.
            epochs: Passes over `data`.
            seed: Seed of every random choice.
            lr: Greatest learning rate.
        """
        from cutlayer.training import train

        train(model, data, epochs=epochs, seed=seed, lr=lr)

    def learn(self, model: nn.Module, reference: Dataset, seed: int) -> None:
        """Get ready to answer, with the trained network and samples that it was not trained on; sets `learned`."""
        self._learned = {}

    @property
    def learned(self) -> dict[str, NDArray[Any]]:
        """What `learn` has learned, by name; it is kept beside the split for the server."""
        return self._learned

    def deploy(self, learned: Mapping[str, NDArray[Any]]) -> None:
        """Get ready to answer in another process, with the value of `learned`."""
        self._learned = dict(learned)

    def answer(self, scores: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """What the server replies in place of its log-probabilities.

        Args:
            scores: ``(N, classes)`` log-probabilities, float32; they are not changed in place.
            rng: Source of every random draw.

        Returns:
            ``(N, classes)`` float32 log-probabilities, -1000 where the reply tells nothing or 0.
        """
        return scores


def normalized(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-probabilities ``(N, classes)`` that differ from the scores by one number for each row."""
    shifted = scores - scores.max(1, keepdims=True)
    told: NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return told


def kept_class(told: NDArray[np.float32], classes: NDArray[np.intp]) -> NDArray[np.float32]:
    """The reply, changed in place so that each row's greatest score is that of its class, ``(N,)``, and only that."""
    rows = np.arange(len(told))
    own = told[rows, classes]
    np.minimum(told, (own - _APART)[:, None], out=told)
    told[rows, classes] = own
    return told


_APART = np.float32(1e-3)
"""How much less than the class, in nats, any other class is told at most, where a defense could not say which it is."""
