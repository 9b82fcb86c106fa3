"""Gaussian noise on what leaves the device.

Z. He, T. Zhang, R. B. Lee, "Attacking and Protecting Data Privacy in Edge-Cloud Collaborative Inference Systems", IEEE
Internet of Things Journal, 2020: ``v' = v + n``, ``n ~ N(0, sigma^2)``.

Threat model: an honest-but-curious server that knows `sigma`, and may see several releases of one input: the mean of
``k`` of them carries noise of ``sigma / sqrt(k)`` only.

Differs from the paper:
    - Optionally the tail is trained behind the noise (`noise_aware_epochs`), and the smashed data is bounded (`bound`;
      see `cutlayer.defenses.shared.additive`). No guarantee of differential privacy is claimed: see
      `cutlayer.defenses.local_dp`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cutlayer.defenses.shared.additive import AdditiveNoise
from cutlayer.defenses.shared.draws import normal
from cutlayer.options import Epochs, Weight


@dataclass(kw_only=True)
class GaussianNoise(AdditiveNoise):
    """Add independent Gaussian noise to every element of every release.

    Args:
        sigma: Standard deviation, in the unit of the smashed data.
        noise_aware_epochs: Epochs of training behind the noise; see `cutlayer.defenses.shared.additive.AdditiveNoise`.
        bound: Function that bounds what the head gives; see there.
    """

    knob = "sigma"
    unit_variance = 1.0
    family = "gaussian"

    sigma: Weight
    noise_aware_epochs: Epochs = 0
    bound: str = "none"

    def draw(self, like: Any, rng: np.random.Generator) -> Any:
        """Noise of standard deviation 1."""
        return normal(like, rng)
