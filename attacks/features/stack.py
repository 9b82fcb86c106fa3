"""Stack: a linear combination of the pictures of several attacks.

    x = b + sum_k W_k * p_k,        W = argmin  sum_i ||x_i - b - sum_k W_k * p_k(v_i)||^2  +  penalty ||W - W_0||^2

David H. Wolpert, "Stacked Generalization", Neural Networks, 1992. Attacks err differently: a decoder is too smooth, a
search too rough. Their mean is nearer to the truth than the better one, and least squares finds the best mean. With a
`kernel` of 3 or more, W_k is a small filter from all colors to each, so that a part may be trusted in its coarse
structure and another one in its edges.

The weights are fitted to pictures of images that no part was fitted to, of other photographs or people. Half of those
images judge, in turn, the weights that the other half gives: one weight for each part, filters, or the best part alone,
which is what the attack answers with where no combination is surely better. Threat model: that of its parts.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad, unfold

from cutlayer.attacks.features.combined import Combined
from cutlayer.attacks.queries import auxiliary_images, squared_errors, surely_less
from cutlayer.attacks.view import View
from cutlayer.options import Within

PENALTY = 1e-4
"""Weight of the penalty, relative to the mean square of what the weights are applied to."""
CHUNK = 16
"""Images whose neighborhoods are in memory at a time."""

Filters = tuple[int, Tensor]
"""The side of the filters and their weights, ``(values, C)``; with side 0, a weight for each part, ``(K, 1)``."""


@dataclass(kw_only=True)
class Stack(Combined):
    """Combine the pictures of several attacks by weights that were fitted on other images.

    Args:
        attacks: Two attacks or more, each a table with its name and its options.
        kernel: Side of the largest filters that are tried, odd; with 1, colors are mixed and no neighbors.
    """

    plain_words = "a weighted mean of the pictures of several attacks"
    rebuilds = ("image",)

    kernel: Annotated[int, Within(1, 9)] = 3

    def _choose(self, view: View, rehearsed: Tensor, images: Tensor, releases: Tensor) -> None:
        self._mean = auxiliary_images(view).mean(dim=0).to(images)
        errors = squared_errors(rehearsed, images)
        self._best = int(errors.mean(1).argmin())
        self._filters: Filters | None = None
        least, half = errors[self._best], torch.arange(len(images), device=images.device) % 2 == 0
        changes, wanted = rehearsed - self._mean, images - self._mean
        for side in (0, *range(1, self.kernel + 1, 2)):
            error = torch.empty_like(least)
            for judged in (half, ~half) if len(images) > 1 else ():
                filters = solve(side, changes[:, ~judged], wanted[~judged], self._best)
                guess = (self._mean + filtered(filters, changes[:, judged])).clamp(0, 1)
                error[judged] = squared_errors(guess, images[judged])
            if surely_less(error, least):
                least, self._filters = error, solve(side, changes, wanted, self._best)

    def _combine(self, rebuilt: Tensor, releases: Tensor) -> Tensor:
        if self._filters is None:
            return rebuilt[self._best]
        return self._mean + filtered(self._filters, rebuilt - self._mean)


def solve(side: int, changes: Tensor, wanted: Tensor, best: int) -> Filters:
    """The filters that make the wanted images of the pictures, by penalized least squares.

    Args:
        side: Side of the filters; 0 for one weight for each part.
        changes: ``(K, N, C, H, W)``, the pictures minus the mean image.
        wanted: ``(N, C, H, W)``, the images minus the mean image.
        best: The part to which the penalty draws the filters.
    """
    channels = wanted.shape[1]
    n_values = len(_columns(side, changes[:, :1]))
    system = torch.zeros(n_values, n_values, dtype=torch.float64)
    target = torch.zeros(n_values, channels if side else 1, dtype=torch.float64)
    for part, image in zip(changes.split(CHUNK, dim=1), wanted.split(CHUNK), strict=True):
        columns = _columns(side, part).double().cpu()
        values = image.movedim(1, 0).flatten(1) if side else image.flatten()[None]
        system += columns @ columns.T
        target += columns @ values.double().cpu().T
    start = torch.zeros_like(target)
    if side:
        for color in range(channels):
            start[((best * channels + color) * side + side // 2) * side + side // 2, color] = 1
    else:
        start[best] = 1
    penalty = PENALTY * system.diagonal().mean().clamp(min=1e-12)
    change = torch.linalg.solve(system + penalty * torch.eye(n_values, dtype=torch.float64), target - system @ start)
    return side, (start + change).to(wanted)


def filtered(filters: Filters, changes: Tensor) -> Tensor:
    """Apply filters to the pictures of the parts, ``(K, N, C, H, W)`` -> ``(N, C, H, W)``."""
    side, weights = filters
    if not side:
        return torch.einsum("k,knchw->nchw", weights[:, 0], changes)
    kernel = weights.T.reshape(changes.shape[2], -1, side, side)
    return conv2d(_padded(side, changes), kernel)


def _columns(side: int, changes: Tensor) -> Tensor:
    """What each weight is applied to, a row for each weight and a column for each value of the images."""
    if not side:
        return changes.flatten(1)
    return unfold(_padded(side, changes), side).movedim(1, 0).flatten(1)


def _padded(side: int, changes: Tensor) -> Tensor:
    """``(K, N, C, H, W)`` -> ``(N, K * C, H + side - 1, W + side - 1)``, the edges continued."""
    return pad(changes.movedim(1, 0).flatten(1, 2), [side // 2] * 4, mode="replicate")
