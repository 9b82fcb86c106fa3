"""Gaussian noise on an update, which may be clipped before: the baseline of most papers on gradient inversion.

Settings as in Z. Li, J. Zhang, L. Liu, J. Liu, "Auditing Privacy Defenses in Federated Learning via Generative Gradient
Leakage", CVPR 2022 (github.com/zhuohangli/GGL): deviation 0.1 for each number. With `bound`, the update is first
shortened to that length, as in M. Abadi et al., "Deep Learning with Differential Privacy", CCS 2016, for whole batches.

Differs from differential privacy: the batch's update is clipped, not that of each sample, so that there is no epsilon
for a sample.

Threat model: the aggregator of the updates; it knows deviation and bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.shared.draws import normal
from cutlayer.defenses.updates.base import Local, Twin, Update, UpdateDefense
from cutlayer.defenses.updates.clip import clipped
from cutlayer.options import Weight

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Noise(UpdateDefense):
    """Add Gaussian noise to each number of the update.

    Args:
        sigma: Standard deviation of the noise, in the unit of the update.
        bound: Greatest length of the whole update, to which it is shortened before; 0 for none.
    """

    knob = "sigma"
    plain_words = "adds random numbers to the update"

    sigma: Weight = 0.1
    bound: Weight = 0.0

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        short = clipped(update, self.bound)
        return {name: value + self.sigma * normal(value, rng) for name, value in short.items()}

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base; the noise, whose mean is 0, is left out."""
        return (lambda update: clipped(update, self.bound)) if self.on else None
