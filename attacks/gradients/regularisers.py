"""What an attacker believes of samples beside the update: terms that are added to the distance.

Each takes ``(P, B, *input.shape)``, the supposed samples of P problems in standard units, and returns ``(P,)``. What
the batch normalizations of a model have kept is compared in `cutlayer.attacks.gradients.replay`.
"""

from __future__ import annotations

from torch import Tensor


def total_variation(x: Tensor) -> Tensor:
    """Mean absolute difference of vertical neighbors plus that of horizontal ones (Geiping et al., NeurIPS 2020)."""
    return x.diff(dim=-2).abs().flatten(1).mean(1) + x.diff(dim=-1).abs().flatten(1).mean(1)


def half_square(x: Tensor) -> Tensor:
    """Half the mean square (Yin et al., GradInversion, CVPR 2021)."""
    return x.square().flatten(1).mean(1) / 2


def group(x: Tensor, restarts: int) -> Tensor:
    """Mean squared distance to the mean of all searches of the same update, whose rows follow each other.

    Yin et al. (GradInversion, CVPR 2021) register the images of the group by optical flow first.
    """
    sets = x.unflatten(0, (-1, restarts))
    gaps: Tensor = (sets - sets.mean(1, keepdim=True)).square()
    return gaps.flatten(0, 1).flatten(1).mean(1)
