"""The length of a sample's gradient tells a rare class from a frequent one.

O. Li et al., "Label Leakage and Protection in Two-party Split Learning", ICLR 2022, §3: with a logistic loss
``g_i = (p_i - y_i) dz_i/dv_i / B``. Where positives are rare, p is small for most samples, so that ``|p_i - y_i|`` and
with it the gradient is long for positives and short for negatives.

Threat model: the party that sent the smashed data reads the gradient that comes back; it knows no label.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.training.base import LabelAttack, LabelView
from cutlayer.errors import ConfigError


@dataclass(kw_only=True)
class Norm(LabelAttack):
    """Take the samples with the longest gradients for those of class 1, the rarer of two classes."""

    plain_words = "takes the samples whose gradient is longest for those of the rare class"
    decides = False

    def infer(self, view: LabelView) -> Tensor:
        """See the base; the score of class 1 is the length, and that of class 0 is 0."""
        if view.classes != 2:
            raise ConfigError(f"norm tells two classes apart, and there are {view.classes}; use direction.")
        length = view.rows.norm(dim=1)
        return torch.stack([torch.zeros_like(length), length], 1)
