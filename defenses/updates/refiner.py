"""Refiner: the client trains on other samples in place of its own, whose gradient points the same way.

M. Fan, C. Chen, C. Wang, X. Li, W. Zhou, "Refiner: Data Refining against Gradient Leakage Attacks in Federated
Learning", USENIX Security 2025, https://arxiv.org/abs/2212.02042, and in the same spirit Y. Wan et al., "Defense
against Gradient Leakage Attacks via Learning to Obscure Data", 2022. By their abstracts: samples that look unlike the
client's own and "maintain good gradient alignment" with them are trained on, and the own ones are not.

Threat model: a curious server rebuilds the samples of an update, and rebuilds those that the client trained on. A study
compares what it found with the client's own samples, and says what the accuracy of the model became.

Differs from the papers, of which the abstracts were at hand:
    - The distance of two samples is that of their pixels; Refiner has a trained network judge it.
    - The whole gradient is aligned; Refiner weights "key parameters".
    - The search, its settings and its start from noise are those of `dcs2`, with the client's own labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from cutlayer.defenses.updates.base import Local, UpdateDefense
from cutlayer.defenses.updates.concealed import concealed
from cutlayer.defenses.updates.dcs2 import drawn
from cutlayer.options import LearningRate, Weight, Within

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Refiner(UpdateDefense):
    """Train on samples that look different and have nearly the same gradient, in place of the own ones.

    Args:
        steps: The most steps of the search; 0 keeps the own samples.
        lr: Its learning rate.
        far: Weight of the distance in pixels.
        enough: Distance in pixels, over the deviation of MNIST's, at which the search stops.
    """

    knob = "steps"
    plain_words = "trains on other samples in place of its own, which look different and have nearly the same gradient"

    steps: Annotated[int, Within(0, 100_000)] = 1000
    lr: LearningRate = 0.1
    far: Weight = 0.01
    enough: Weight = 150.0

    @property
    def needs_loss(self) -> bool:
        """See the base."""
        return True

    def augment(self, inputs: Tensor, labels: Tensor, rng: np.random.Generator, local: Local) -> tuple[Tensor, Tensor]:
        """See the base."""
        if not self.on or not len(inputs):
            return inputs, labels
        start, _, _ = drawn(inputs, labels, rng, local)
        found = concealed(
            local.model, inputs, labels, start, labels, steps=self.steps, lr=self.lr, far=self.far, near_outputs=0.0,
            enough=self.enough,
        )  # fmt: skip
        return found, labels
