"""CENSOR: a random direction that is orthogonal to the update is sent in its place.

K. Zhang, S. Cheng, G. Shen, B. Ribeiro, S. An, P.-Y. Chen, X. Zhang, N. Li, "CENSOR: Defense Against Gradient Inversion
via Orthogonal Subspace Bayesian Sampling", NDSS 2025 (github.com/KaiyuanZh/censor @2739a36). For each parameter with
the gradient g and random numbers r, ``r - (r.g) g / |g|^2`` is orthogonal to g; it gets the length of g. Of `trials`
such updates the one is sent with which the model has the least loss on the client's batch, in the first `rounds`
rounds only.

Differs from the authors' code, which divides by ``|g|`` where ``|g|^2`` is meant, so that a part
``r.g (1 - |g|)`` along g remains. As there, `lr` is the step at which a gradient is tried; a change of weights is tried
as it is.

Threat model: the aggregator of the updates; what it sees tells of g the length of each layer, and that it is
orthogonal. So does it tell the training: see the accuracy after the first rounds.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.shared.draws import normal
from cutlayer.defenses.updates.base import Local, Twin, Update, UpdateDefense
from cutlayer.options import LearningRate, Whole

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-30


@dataclass(kw_only=True)
class Censor(UpdateDefense):
    """Send a direction orthogonal to the update, the best of several by the loss.

    Args:
        trials: Directions that are drawn; the one with the least loss is sent.
        rounds: Number of rounds, from the first one, in which the update is replaced.
        lr: Step at which a gradient is tried.
    """

    knob = "trials"
    plain_words = "sends a random direction at a right angle to the update, in the first rounds"

    trials: Whole = 20
    rounds: Whole = 10
    lr: LearningRate = 1e-4

    @property
    def needs_loss(self) -> bool:
        """See the base."""
        return True

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        local = self.needed(local)
        if local.round >= self.rounds:
            return dict(update)
        drawn = [{name: orthogonal(g, rng) for name, g in update.items()} for _ in range(self.trials)]
        losses = self._losses(drawn, local)
        return drawn[losses.index(min(losses))]

    def _losses(self, candidates: Sequence[Update], local: Local) -> list[float]:
        """The mean loss of the client's samples with the model after each update."""
        import torch
        from torch.nn import functional

        model, losses = copy.deepcopy(local.model).eval(), []
        parameters = dict(model.named_parameters())
        before = {name: parameters[name].detach().clone() for name in candidates[0]}
        step = 1.0 if local.local_steps else -self.lr
        with torch.no_grad():
            for candidate in candidates:
                for name, value in before.items():
                    change = torch.as_tensor(candidate[name], device=value.device)
                    parameters[name].copy_(value + step * change)
                losses.append(float(functional.cross_entropy(model(local.inputs), local.labels)))
        return losses

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base. The direction is read from `sent`; what remains of an update is the length of each layer.

        From round `rounds` on updates are sent as they are, and an attacker does without the map.
        """
        if not self.on:
            return None
        directions = {name: value / value.norm().clamp(min=_TINY) for name, value in sent.items()}

        def replaced(update: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: value.norm() * directions[name] for name, value in update.items()}

        return replaced


def orthogonal(g: Any, rng: np.random.Generator) -> Any:
    """A random tensor that is orthogonal to g and as long; zeros where g is one number, or all zeros."""
    xp = array_namespace(g)
    r = normal(g, rng)
    squared = xp.sum(g * g)
    across = r - xp.sum(r * g) / xp.clip(squared, _TINY, None) * g
    long = xp.sum(across * across) ** 0.5
    # One number has no direction at a right angle; what is left of it is rounding.
    if len(xp.reshape(g, (-1,))) == 1 or not float(long):
        return xp.zeros_like(g)
    return across * (squared**0.5 / long)
