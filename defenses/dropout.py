"""Dropout on what leaves the device: each element is withheld with a fixed probability, anew for each release.

Z. He, T. Zhang, R. B. Lee, "Attacking and Protecting Data Privacy in Edge-Cloud Collaborative Inference Systems", IEEE
Internet of Things Journal, 2020, eq. 6: ``v' = v * M``, ``M ~ Bernoulli(1 - rate)``. Nothing is rescaled, as in theirs.

Threat model: an honest-but-curious server that knows `rate`, trains on what arrives, and may see several releases of
one input: each element is in one of k releases at least with probability ``1 - rate^k``.

Differs from the paper:
    - Optionally the tail is trained behind the mask (`epochs`).
    - The attacker learns from masked data; theirs takes what it receives for unmasked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace

from cutlayer.defenses.base import Defense
from cutlayer.defenses.shared.aware import adapt
from cutlayer.defenses.shared.draws import uniform
from cutlayer.errors import ConfigError
from cutlayer.options import Epochs, Share

if TYPE_CHECKING:
    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel


@dataclass(kw_only=True)
class Dropout(Defense):
    """Set each element of every release to 0 with probability `rate`.

    Args:
        rate: Probability, in [0, 1].
        epochs: Passes over the training data for which the tail is trained behind the mask.
    """

    sends_zeros = True
    knob = "rate"

    rate: Share
    epochs: Epochs = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1 or self.epochs < 0:
            raise ConfigError(f"{self!r}: rate must be between 0 and 1, and epochs 0 or more.")

    @property
    def random(self) -> bool:
        """Whether some elements are withheld and some are not."""
        return 0 < self.rate < 1

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.epochs if self.rate else 0

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Train a copy of the tail behind the mask; the head stays as it is."""
        return adapt(split, self.protect, data, epochs=self.epochs if self.rate else 0, seed=seed)

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Set elements to 0; at rate 0 return the input itself."""
        if self.rate == 0:
            return smashed
        xp = array_namespace(smashed)
        return xp.where(uniform(smashed, rng) >= self.rate, smashed, xp.zeros_like(smashed))
