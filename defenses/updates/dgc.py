"""Deep gradient compression: of each layer only the largest sums of past gradients are sent.

Y. Lin, S. Han, H. Mao, Y. Wang, W. J. Dally, "Deep Gradient Compression: Reducing the Communication Bandwidth for
Distributed Training", ICLR 2018. With g the client's update:

    u <- momentum * u + clip(g),   v <- v + u            (momentum correction, local clipping)
    sent = v where |v| is among the largest of its layer, else 0
    u, v <- 0 where v was sent                           (momentum factor masking)

Local clipping bounds the length of g by ``bound / sqrt(clients)``. In the rounds before `warmup` less is left out: with
99.9 % and 4 rounds that is 75 %, 93.7 %, 98.4 % and 99.6 %, as in the paper.

Differs from the paper: the same formulas also take changes of weights, for which a sign is turned and the momentum runs
over rounds.

Threat model: the aggregator of the updates; zeros tell it which numbers are missing. It is a compression that some
surveys list as a defense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.updates.base import Local, Twin, Update
from cutlayer.defenses.updates.clip import clipped
from cutlayer.defenses.updates.masked import Masked, by_magnitude, masking
from cutlayer.defenses.updates.residuals import kept, recalled
from cutlayer.options import Count, Share, Weight, Whole, Within

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class DGC(Masked):
    """Send the largest sums of past gradients of each layer.

    Args:
        sparsity: Share of the numbers of each parameter that are not sent, after the warm-up; rounded down.
        momentum: Momentum of the sum.
        bound: Greatest length of the gradients of all clients together; 0 for none.
        clients: Number of clients.
        warmup: Rounds in which less is left out.
    """

    knob = "sparsity"
    plain_words = "sends only the few largest sums of past gradients"

    sparsity: Share = 0.999
    momentum: Annotated[float, Within(0, 1)] = 0.9
    bound: Weight = 0.0
    clients: Count = 1
    warmup: Whole = 4

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        sums, memory = {}, {}
        for name, value in clipped(update, self._bound).items():
            memory[name] = self.momentum * recalled(state, f"momentum/{name}", value) + value
            sums[name] = recalled(state, f"sum/{name}", value) + memory[name]
        masks = self.masks(sums, rng, local)
        for name, mask in masks.items():
            state[f"momentum/{name}"] = kept(memory[name] * (1 - mask))
            state[f"sum/{name}"] = kept(sums[name] * (1 - mask))
        return {name: value * masks[name] for name, value in sums.items()}

    def masks(self, update: Update, rng: np.random.Generator, local: Local | None) -> Update:
        """See the base."""
        sparsity = self.sparsity
        if self.warmup and (round := self.needed(local).round) < self.warmup:
            sparsity = 1 - (1 - sparsity) ** ((round + 1) / (self.warmup + 1))
        return {name: by_magnitude(value, sparsity) for name, value in update.items()}

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base. What the client has summed up before is not known, and left out."""
        masked = masking(sent)
        return (lambda update: masked(clipped(update, self._bound))) if self.on else None

    @property
    def _bound(self) -> float:
        return float(self.bound / self.clients**0.5)
