"""Losses that tell how far a model is from naming a class, each for logits ``(N, K)`` and classes ``(N,)``: ``(N,)``.

Cross-entropy stops pulling as soon as the class is likely, wherever the image is by then; the margin and the logit
pull on, and the Poincare distance does so on a bounded scale.

Sources: cross-entropy is GMI's (Zhang et al., CVPR 2020); the logit LOMMA's (Nguyen et al., CVPR 2023,
https://arxiv.org/abs/2304.01669); the margin PLG-MI's (Yuan et al., AAAI 2023, https://arxiv.org/abs/2302.09814); the
Poincare distance PPA's (Struppek et al., ICML 2022, https://arxiv.org/abs/2201.12179).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]
_INSIDE = 1e-4
"""How far from the rim of the ball the class's own point lies; PPA's code."""
_LEAST = 1e-6


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """``-log p_y``."""
    return functional.cross_entropy(logits, y, reduction="none")


def logit(logits: Tensor, y: Tensor) -> Tensor:
    """``-l_y``; the other logits may do as they like."""
    return -_own(logits, y)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """``max_{j != y} l_j - l_y``."""
    return _others(logits, y).amax(1) - _own(logits, y)


def poincare(logits: Tensor, y: Tensor) -> Tensor:
    """Distance in the Poincare ball between the logits, scaled to an L1 norm of 1, and the class's own point."""
    u = logits / logits.abs().sum(1, keepdim=True).clamp(min=_LEAST)
    v = functional.one_hot(y, logits.shape[1]).to(u) * (1 - _INSIDE)
    rims = [(1 - point.square().sum(1)).clamp(min=_LEAST) for point in (u, v)]
    return torch.acosh(1 + 2 * (u - v).square().sum(1).clamp(min=1e-12) / (rims[0] * rims[1]))


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "logit": logit, "margin": margin, "poincare": poincare}


def log_probability(logits: Tensor, y: Tensor) -> Tensor:
    """``log p_y`` that still orders classes whose probability rounds to 1, ``(N,)`` float64."""
    logits = logits.double()
    return functional.logsigmoid(_own(logits, y) - _others(logits, y).logsumexp(1))


def _own(logits: Tensor, y: Tensor) -> Tensor:
    return logits.gather(1, y[:, None]).squeeze(1)


def _others(logits: Tensor, y: Tensor) -> Tensor:
    return logits.scatter(1, y[:, None], -torch.inf)
