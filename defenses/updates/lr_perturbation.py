"""A random scale for each update, as a learning rate that is drawn anew in each round gives it.

The survey of Yang et al. lists it as the learning-rate perturbation of Wan et al., 2023: the server does not know the
client's learning rate, and therefore not the length of its gradient. The law of the draw was not found; it is uniform
here.

Differs from the paper: the update is scaled and not the learning rate. That is the same for a gradient, and for one
step of SGD.

Threat model: the aggregator of the updates. The direction stays, and a matching by cosine does not use the length: no
defense, shown as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.updates.base import Local, Twin, Update, UpdateDefense
from cutlayer.defenses.updates.clip import length
from cutlayer.options import Share

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class LearningRatePerturbation(UpdateDefense):
    """Multiply each update by a random number.

    Args:
        spread: The number is between 1 - spread and 1 + spread, all alike likely.
    """

    knob = "spread"
    plain_words = "scales each update by a random number"

    spread: Share = 0.5

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        scale = float(rng.uniform(1 - self.spread, 1 + self.spread))
        return {name: value * scale for name, value in update.items()}

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base; every update gets the length that was observed, as its own says nothing."""
        if not self.on:
            return None
        observed = length(sent)

        def scaled(update: Mapping[str, Tensor]) -> dict[str, Tensor]:
            whole = length(update)
            return {name: value * (observed / whole) if whole > 0 else value for name, value in update.items()}

        return scaled
