"""Laplacian noise on what leaves the device.

T. Titcombe, A. J. Hall, P. Papadopoulos, D. Romanini, "Practical Defences Against Model Inversion Attacks for Split
Neural Networks", DPML at ICLR 2021, https://arxiv.org/abs/2104.05743: ``v' = v + n``, ``n ~ Laplace(0, scale)``.

Threat model: an honest-but-curious server that knows `scale`, and may see several releases of one input: the mean of
``k`` of them carries noise that is smaller by ``sqrt(k)``.

Differs from the paper:
    - The smashed data is bounded by tanh only where `bound` says so, and after division by a fixed scale (see
      `cutlayer.defenses.shared.additive`); theirs is the output of a fully connected layer.
    - The model is trained without noise first, and then behind it for `noise_aware_epochs`: the tail alone, or head and
      tail where the head is bounded. Theirs is trained behind it from the start.
    - No guarantee of differential privacy is claimed; it would cover each element alone: see
      `cutlayer.defenses.local_dp`.
    - The attacker sees the noisy release and nothing else; their scripts trained and scored it on the clean one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cutlayer.defenses.shared.additive import AdditiveNoise
from cutlayer.defenses.shared.draws import laplace
from cutlayer.options import Epochs, Weight


@dataclass(kw_only=True)
class LaplaceNoise(AdditiveNoise):
    """Add independent Laplacian noise to every element of every release.

    Args:
        scale: ``b`` of the density ``exp(-|n| / b) / 2b``, in the unit of the smashed data; the standard deviation is
            ``sqrt(2) b``.
        noise_aware_epochs: Epochs of training behind the noise; see `cutlayer.defenses.shared.additive.AdditiveNoise`.
        bound: Function that bounds what the head gives; see there.
    """

    knob = "scale"
    unit_variance = 2.0
    family = "laplace"

    scale: Weight
    noise_aware_epochs: Epochs = 0
    bound: str = "none"

    def draw(self, like: Any, rng: np.random.Generator) -> Any:
        """Noise of scale 1."""
        return laplace(like, rng)
