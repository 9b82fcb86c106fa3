"""Dual gradient pruning: neither the largest nor the smallest numbers of a layer are sent, and what is left waits.

L. Xue, S. Hu, R. Zhao, L. Y. Zhang, S. Hu, L. Sun, D. Yao, "Revisiting Gradient Pruning: A Dual Realization for
Defending against Gradient Attacks", AAAI 2024: the largest numbers tell most of the sample, the smallest cost most to
send; with error feedback the training converges. No code was released.

Differs from the paper: the shares, 5 % and 75 %, are recalled and not verified.

Threat model: the aggregator of the updates; zeros tell it which numbers are missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.updates.base import Local, Update
from cutlayer.defenses.updates.masked import Masked, by_magnitude
from cutlayer.defenses.updates.residuals import kept, recalled
from cutlayer.options import Share


@dataclass(kw_only=True)
class DGP(Masked):
    """Send the numbers of middle size of each layer, and add the others to the next update.

    Args:
        smallest: Share of the numbers of each parameter, those of the least magnitude, that are not sent; with 0 the
            defense is off. Rounded down, as is `largest`.
        largest: Share of those of the greatest magnitude that are not sent.
    """

    knob = "smallest"
    plain_words = "sends the numbers of middle size only, and keeps the others for the next time"

    smallest: Share = 0.75
    largest: Share = 0.05

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        whole = {name: value + recalled(state, f"residual/{name}", value) for name, value in update.items()}
        sent = super().protect(whole, rng, state, local)
        state.update({f"residual/{name}": kept(whole[name] - value) for name, value in sent.items()})
        return sent

    def masks(self, update: Update, rng: np.random.Generator, local: Local | None) -> Update:
        """See the base."""
        return {name: by_magnitude(value, self.smallest, self.largest) for name, value in update.items()}
