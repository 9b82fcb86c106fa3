"""Pruning: the smallest, or the largest, numbers of each layer of an update are not sent.

L. Zhu, Z. Liu, S. Han, "Deep Leakage from Gradients", NeurIPS 2019, §5.2, has it as a defense; the settings are those
of Z. Li et al., "Auditing Privacy Defenses in Federated Learning via Generative Gradient Leakage", CVPR 2022: below the
percentile 90 of each layer. ``drop = "largest"`` is the pruning of large gradients, which several surveys list: the
largest numbers tell most.

T. Chu, M. Yang, N. Laoutaris, A. Markopoulou, "PriPrune: Quantifying and Preserving Privacy in Pruned Federated
Learning", ACM TOMPECS 2024, prunes by a mask of each client before sending, and the client trains on with what it has
held back ("pseudo-pruning"): ``held_back = true``.

Differs from PriPrune: the mask is by magnitude with a fixed share; theirs is learned, and its rate adapted to a loss of
accuracy and privacy.

Threat model: the aggregator of the updates; zeros tell it which numbers are missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.updates.base import Local, Update
from cutlayer.defenses.updates.masked import Masked, by_magnitude
from cutlayer.defenses.updates.residuals import kept, recalled
from cutlayer.errors import ConfigError
from cutlayer.options import Share

DROPS = ("smallest", "largest")


@dataclass(kw_only=True)
class Prune(Masked):
    """Send zeros in place of the smallest, or the largest, numbers of each layer.

    Args:
        rate: Share of the numbers of each parameter that are not sent, rounded down.
        drop: Whether the ``smallest`` or the ``largest`` numbers are left out.
        held_back: Whether what was left out is added to the next update.
    """

    knob = "rate"
    plain_words = "leaves out a share of the numbers of each layer, by their size"

    rate: Share = 0.9
    drop: str = "smallest"
    held_back: bool = False

    def __post_init__(self) -> None:
        if self.drop not in DROPS:
            raise ConfigError(f"prune.drop must be {' or '.join(DROPS)}; {self.drop!r:.80} was given.")

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        if not self.held_back:
            return super().protect(update, rng, state, local)
        whole = {name: value + recalled(state, f"residual/{name}", value) for name, value in update.items()}
        sent = super().protect(whole, rng, state, local)
        state.update({f"residual/{name}": kept(whole[name] - value) for name, value in sent.items()})
        return sent

    def masks(self, update: Update, rng: np.random.Generator, local: Local | None) -> Update:
        """See the base."""
        smallest = self.rate if self.drop == "smallest" else 0.0
        return {name: by_magnitude(value, smallest, self.rate - smallest) for name, value in update.items()}
