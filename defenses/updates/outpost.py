"""Outpost: noise where the update's squares are great, as strong as the weights of a layer are spread.

F. Wang, E. Hugh, B. Li, "More than Enough is Too Much: Adaptive Defenses against Gradient Leakage in Production
Federated Learning", INFOCOM 2023. For each parameter, with theta its weights before the update and g the update:

    risk = min(var(theta), 1)
    numbers of g below the percentile `pruned` of their layer are set to zero
    numbers whose empirical Fisher information g^2 is among the greatest `phi` of the whole update get noise
        N(0, (risk * sigma)^2)

and the update is changed with the probability ``1 / (1 + decay * round)``, which falls while the model is trained.

Differs from the authors' code (Plato), which computes all this and returns the gradients that it was given: the result
is returned here. It averages g^2 over the first axis of each parameter, where this has one for each number; and counts
iterations, where this counts rounds.

Threat model: the aggregator of the updates; zeros tell it which numbers are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.shared.draws import normal
from cutlayer.defenses.updates.base import Local, Twin, Update, UpdateDefense
from cutlayer.defenses.updates.masked import by_magnitude, masking
from cutlayer.options import Share, Weight

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Outpost(UpdateDefense):
    """Prune the update, and add noise where it tells most, less and less often while the model is trained.

    Args:
        sigma: Standard deviation of the noise over the risk of the layer; with 0 the defense is off.
        pruned: Share of the numbers of each parameter, the smallest, that are set to zero; rounded down.
        phi: Share of all numbers, those of the greatest square, that get noise.
        decay: How fast the probability of a change falls with the rounds.
    """

    knob = "sigma"
    plain_words = "adds noise to the numbers that tell most, and less often as training goes on"

    sigma: Weight = 0.8
    pruned: Share = 0.8
    phi: Share = 0.4
    decay: Weight = 0.1

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        local = self.needed(local)
        if rng.random() >= 1 / (1 + self.decay * local.round):
            return dict(update)
        weights = dict(local.model.named_parameters())
        first = next(iter(update.values()))
        xp = array_namespace(first)
        squares = xp.concat([xp.reshape(value * value, (-1,)) for value in update.values()])
        told = int(self.phi * len(squares))
        least = float(xp.sort(squares)[-told]) if told else float("inf")
        sent = {}
        for name, value in update.items():
            risk = min(float(weights[name].detach().var(correction=0)), 1.0)
            among = xp.astype(value * value >= least, value.dtype)
            sent[name] = value * by_magnitude(value, self.pruned) + self.sigma * risk * among * normal(value, rng)
        return sent

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base; the mask is read from the zeros of `sent`, and the noise, whose mean is 0, left out."""
        return masking(sent) if self.on else None
