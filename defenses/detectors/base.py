"""Base of the detectors: a client watches the gradients that it gets, and says how much they look like an attack."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cutlayer.errors import ConfigError
from cutlayer.options import Weight

if TYPE_CHECKING:
    from torch import Tensor, nn

ON_ALARM = ("warn", "stop")
"""What a client does when it suspects the server: say so and go on, or say so and end the training."""


@dataclass(frozen=True)
class Watched:
    """One step, as the client sees it.

    Attributes:
        gradient: ``(B, *smashed.shape)``, the gradient at the cut as it arrived.
        labels: ``(B,)``, the labels that were sent with the batch.
        first_layer: The gradient of the weights of the client's first layer, which follows from `gradient`; empty for a
            detector that does not read it.
        true_labels: ``(B,)``, the labels that belong to the batch.
    """

    gradient: "Tensor"
    labels: "Tensor"
    first_layer: "Tensor"
    true_labels: "Tensor"

    @property
    def is_fake(self) -> bool:
        """Whether other labels were sent than those that belong to the batch."""
        return bool((self.labels != self.true_labels).any())


@dataclass(kw_only=True)
class Detector(ABC):
    """Base of the detectors; a subclass is a dataclass whose fields are its options.

    It is fed every step in their order, and keeps what it needs in attributes whose names begin with ``_``.

    Args:
        threshold: The suspicion from which on the client suspects the server.
        on_alarm: What it does then, one of `ON_ALARM`.
    """

    plain_words: ClassVar[str]
    """What the detector does, for a reader who does not know the field: a clause that begins with a verb."""

    probes: ClassVar[bool] = False
    """Whether it sends wrong labels, from which the server learns and which decide on the result with the others."""

    reads_first_layer: ClassVar[bool] = True
    """Whether it reads `Watched.first_layer`, for which the client goes back through its layers once more."""

    # Real types and no strings, for a detector of the user's own in another file inherits them.
    threshold: Weight = 1.0
    on_alarm: str = "warn"

    def __post_init__(self) -> None:
        if self.on_alarm not in ON_ALARM:
            raise ConfigError(f"on_alarm must be {' or '.join(ON_ALARM)}; {self.on_alarm!r:.80} was given.")

    def prepare(  # noqa: B027
        self, head: "nn.Module", tail: "nn.Module", inputs: "Tensor", labels: "Tensor", batch: int, lr: float
    ) -> None:
        """Get ready, before the first step. All modules stay as they are.

        Args:
            head: The client's layers.
            tail: The layers behind them, with the values that they had before training.
            inputs: ``(N, *input.shape)``, the client's own samples.
            labels: ``(N,)``, their labels.
            batch: The greatest number of samples in a step.
            lr: Learning rate of the training.
        """

    def sent_labels(self, labels: "Tensor", classes: int, step: int, rng: np.random.Generator) -> "Tensor":
        """The labels to send with a batch, ``(B,)``; a client takes no step where they are not the true ones."""
        return labels

    @abstractmethod
    def watch(self, step: Watched) -> float | None:
        """Take in a step; return the suspicion after it, greater for an attack, and None before there is one."""
