"""Read inputs off a fully connected first layer: the gradient of a unit's weights over that of its bias.

L. T. Phong, Y. Aono, T. Hayashi, L. Wang, S. Moriai, "Privacy-Preserving Deep Learning via Additively Homomorphic
Encryption", IEEE TIFS 2018, §3: for one sample ``dW_j / db_j = x`` for every unit j. In a batch, a unit that a ReLU
leaves open for one sample alone still gives that sample; the ratios of the others are mixtures of several.

Which ratios are samples is found out without any of them: mixtures lie between the samples, or far out of the range
of inputs. So ratios out of the range are dropped, and the successive projection algorithm takes those at the corners
(M. C. U. Araújo et al., "The successive projections algorithm for variable selection", 2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.first_layer import first_layer
from cutlayer.attacks.gradients.update import in_range, scaled_gradient
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.spec import TensorSpec

NEGLIGIBLE = 1e-5
"""Gradients of a bias, over the greatest, below which rounding has left nothing of the ratio."""
OUTSIDE = 0.02
"""How far a ratio may lie out of the range of inputs, over its width, for the rounding of small gradients."""
ALIKE = 1e-4
"""Distance, over that from the center, below which two ratios are one; the one of the longer gradient is exacter."""
SPENT = 1e-3
"""Length of what is left of a ratio, over the first, below which it is a mixture of the others."""


@dataclass(kw_only=True)
class Ratio(UpdateAttack):
    """Divide the gradients of the first layer's weights by those of its biases, and choose among the ratios."""

    plain_words = "divides the gradient of the first layer's weights by that of its biases, which gives the inputs"

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """See the base; what no ratio is left for is the mean of the attacker's own samples."""
        usual = torch.from_numpy(view.auxiliary.inputs.mean(0))
        found = []
        for observation in observations:
            ratios, lengths = candidates(observation, view.input)
            corners = ratios[chosen(ratios.flatten(1), lengths, view.input, observation.samples)].cpu()
            missing = usual.expand(observation.samples - len(corners), *usual.shape)
            found.append(Recovered(torch.cat([in_range(corners, view.input), missing])))
        return found


def candidates(observation: Observation, input: TensorSpec) -> tuple[Tensor, Tensor]:
    """The ratio of each unit with a gradient, ``(N, *input.shape)``, and the length of its gradient, ``(N,)``."""
    layer = first_layer(observation, scaled_gradient(observation, "ratio"), input, "ratio")
    length = layer.bias.abs()
    used = length > NEGLIGIBLE * length.max()
    return layer.inputs(layer.weight[used] / layer.bias[used, None]), length[used]


def within(rows: Tensor, input: TensorSpec) -> Tensor:
    """Which of the rows ``(N, input.size)`` lie in the range of inputs but for rounding, ``(N,)`` bool."""
    if input.low is None or input.high is None:
        return rows.isfinite().all(1)
    slack = OUTSIDE * (input.high - input.low)
    return ((rows >= input.low - slack) & (rows <= input.high + slack)).all(1)


def chosen(ratios: Tensor, lengths: Tensor, input: TensorSpec, n: int) -> list[int]:
    """The positions of at most `n` ratios that are samples rather than mixtures of samples.

    Args:
        ratios: ``(N, input.size)``.
        lengths: ``(N,)``: how exact each is.
        input: One input of the model.
        n: Number of samples.
    """
    inside = within(ratios, input)
    positions = (inside if inside.any() else ~inside).nonzero()[:, 0]
    rows = ratios[positions]
    if not len(rows):
        return []
    center = rows.mean(0)
    # One more column keeps the corners independent of each other where they are as many as the numbers of an input.
    left = torch.cat([rows, rows.abs().mean().expand(len(rows), 1)], 1)
    first = float(left.norm(dim=1).max())
    found: list[int] = []
    while len(found) < n:
        norms = left.norm(dim=1)
        corner = int(norms.argmax())
        if norms[corner] <= SPENT * first:
            break
        alike = (rows - rows[corner]).norm(dim=1) <= ALIKE * (rows[corner] - center).norm().clamp(min=1e-12)
        best = int(torch.where(alike, lengths[positions], -1.0).argmax())
        found.append(int(positions[best]))
        direction = left[corner] / norms[corner]
        left = left - (left @ direction)[:, None] * direction
    return found
