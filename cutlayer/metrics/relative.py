"""Relative data leakage value: how much more alike a reconstruction is than a guess without any release.

A. Hatamizadeh et al., "Do Gradient Inversion Attacks Make Federated Learning Unsafe?", IEEE TMI 2023,
https://arxiv.org/abs/2202.06924: with a prior image P that the attacker begins with,

    RDLV = (SSIM(reconstruction, original) - SSIM(P, original)) / SSIM(P, original)

Here P is the mean of the attacker's own images, against which the leakage gain is taken as well. Differs from the
paper: where P has less than 0.01 in common with the original, 0.01 divides, so that no image outweighs all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutlayer.metrics.base import Metric
from cutlayer.metrics.image import ssim

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 0.01


def relative_leakage(reconstructions: Tensor, originals: Tensor, *_: Tensor, prior: Tensor) -> Tensor:
    """Relative data leakage value of each image, ``(N,)``; 0 for the prior itself, negative for what is less alike."""
    guess = ssim(prior.to(originals).expand_as(originals), originals)
    return (ssim(reconstructions, originals) - guess) / guess.clamp(min=_LEAST)


RDLV = Metric(
    "RDLV",
    "how many times its own value the structural similarity rises above that of the average picture; 0 is no rise.",
    "high", relative_leakage, digits=2, needs=("prior",),
)  # fmt: skip
