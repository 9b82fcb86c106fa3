"""VRM: the batch also holds mixtures of its own samples, with most of one of them inverted.

Z. Ye, W. Luo, Q. Zhou, Z. Zhu, Y. Shi, Y. Jia, "Gradient Inversion Attacks: Impact Factors Analyses and Privacy
Enhancement", IEEE TPAMI 2024 (vicinal risk minimization), code github.com/MiLab-HITSZ/2023YeGIAnDe @e78120d: of two
samples, normalized around 0, the client trains on ``{x1, x2, -.8 x1 + .2 x2, -.8 x2 + .2 x1}``, each mixture with the
label of its larger part.

Threat model: a curious server rebuilds the samples of an update. One that does not know of the mixtures looks for twice
as many samples as there are, or for as many, with a gradient that is not theirs. One that knows of them fits x1 and x2
alone and mixes inside (`augment_twin`): the mixtures add nothing unknown.

Differs from the paper:
    - The inputs of cutlayer's models lie in [0, 1]: the mixtures are formed around 0.5, and stay in that range.
    - The code has six ways to mix, and the released scripts none of them switched on; this is the one of two mixtures.
    - A batch of any size: the partner of a sample is the next one, and the first one of the last. One sample alone is
      its own partner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from cutlayer.defenses.updates.base import Local, UpdateDefense
from cutlayer.options import Share

if TYPE_CHECKING:
    from torch import Tensor

_CENTER = 0.5


@dataclass(kw_only=True)
class Vrm(UpdateDefense):
    """Train on mixtures of the samples as well, in which each is inverted and mixed with the next.

    Args:
        part: Part of the inverted sample in each mixture; the rest is of its partner. At 0 there are no mixtures.
    """

    knob = "part"
    plain_words = "trains on inverted mixtures of its samples as well"

    part: Share = 0.8

    def augment(self, inputs: Tensor, labels: Tensor, rng: np.random.Generator, local: Local) -> tuple[Tensor, Tensor]:
        """``(B, *input.shape)`` -> the samples and then one mixture of each, ``(2 B, *input.shape)``; see the base."""
        mixed, of = self.augment_twin(inputs, labels)
        # Rounding may lead out of the range by a bit.
        return (mixed.clamp(0, 1), of) if self.on else (inputs, labels)

    def augment_twin(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The same as `augment`, which has no chance in it; a guess may lie out of the range."""
        if not self.on:
            return inputs, labels
        partner = inputs.roll(-1, dims=0)
        mixtures = _CENTER - self.part * (inputs - _CENTER) + (1 - self.part) * (partner - _CENTER)
        return torch.cat([inputs, mixtures]), torch.cat([labels, labels])
