"""Distances between the update that an attacker computes and the one that it has seen.

Each function compares two updates by layer, each ``(*shape)`` with the shape of the layer, and returns a scalar; no
batch axis, because `torch.func.vmap` adds it. `weights` are the layers' weights, ``(layers,)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

Distance = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Tensor]
_LEAST = 1e-12
"""Least square of a norm, below which a layer has no direction."""


def squares(made: Sequence[Tensor], seen: Sequence[Tensor], weights: Tensor) -> Tensor:
    """The weighted sum of squared differences (Zhu et al., DLG, NeurIPS 2019)."""
    return sum_of((a - b).square().sum() * w for a, b, w in zip(made, seen, weights, strict=True))


def squares_and_sizes(made: Sequence[Tensor], seen: Sequence[Tensor], weights: Tensor) -> Tensor:
    """`squares` plus a hundredth of the absolute differences (Deng et al., TAG, Findings of EMNLP 2021)."""
    return squares(made, seen, weights) + 0.01 * sum_of(
        (a - b).abs().sum() * w for a, b, w in zip(made, seen, weights, strict=True)
    )


def cosine(made: Sequence[Tensor], seen: Sequence[Tensor], weights: Tensor) -> Tensor:
    """One minus the cosine of the angle between the updates, all layers together (Geiping et al., NeurIPS 2020)."""
    return 1 - _cosine(made, seen, weights)


def masked_cosine(made: Sequence[Tensor], seen: Sequence[Tensor], weights: Tensor) -> Tensor:
    """`cosine` of the numbers that were not sent as zero, for updates that were pruned (GIAS, GIFD)."""
    return cosine([a * (b != 0) for a, b in zip(made, seen, strict=True)], seen, weights)


def angle(made: Sequence[Tensor], seen: Sequence[Tensor], weights: Tensor) -> Tensor:
    """The angle between the updates in radians, over pi; unlike `cosine` it does not flatten near to zero."""
    return _cosine(made, seen, weights).clamp(-1 + 1e-6, 1 - 1e-6).arccos() / torch.pi


def layer_cosine(made: Sequence[Tensor], seen: Sequence[Tensor], weights: Tensor) -> Tensor:
    """The weighted mean over layers of one minus the cosine within the layer (HF-GradInv)."""
    one = torch.ones_like(weights[:1])
    each = (cosine([a], [b], one) * w for a, b, w in zip(made, seen, weights, strict=True))
    return sum_of(each) / weights.sum()


def signs(made: Sequence[Tensor], seen: Sequence[Tensor], weights: Tensor) -> Tensor:
    """`layer_cosine` of soft signs, for updates of which only the signs are known, such as steps of Adam."""
    return layer_cosine([a / (a.abs() + a.abs().mean() + _LEAST) for a in made], [b.sign() for b in seen], weights)


DISTANCES: Mapping[str, Distance] = MappingProxyType(
    {
        "squares": squares,
        "squares-and-sizes": squares_and_sizes,
        "cosine": cosine,
        "masked-cosine": masked_cosine,
        "angle": angle,
        "layer-cosine": layer_cosine,
        "signs": signs,
    }
)
"""Distances by name."""


def layer_weights(kind: str, layers: int, done: float) -> list[float]:
    """The weight of each layer, from the input to the output.

    Args:
        kind: ``equal``; ``rising``, in proportion to the number of the layer (AGIC); or ``late-first``: at first the
            last tenth of the layers alone, then further ones, down to the layer at 23 % of the depth (HF-GradInv: of
            the 110 parameters of ResNet-34 those from number 100, ten more every 500 of 15,000 steps, down to 25).
        layers: Number of layers.
        done: Share of the steps that are done, in [0, 1).
    """
    if kind == "equal":
        return [1.0] * layers
    if kind == "rising":
        return [(k + 1) / layers for k in range(layers)]
    first = max(25 / 110, 100 / 110 - 10 / 110 * int(done * 30))
    return [float(k >= int(first * layers)) for k in range(layers)]


def sum_of(values: object) -> Tensor:
    """The sum of scalars."""
    total: Tensor = sum(values)  # type: ignore[call-overload]
    return total


def _cosine(made: Sequence[Tensor], seen: Sequence[Tensor], weights: Tensor) -> Tensor:
    layers = list(zip(made, seen, weights, strict=True))
    product = sum_of((a * b).sum() * w for a, b, w in layers)
    squares = (sum_of(a.square().sum() * w for a, _, w in layers), sum_of(b.square().sum() * w for _, b, w in layers))
    return product / (squares[0].clamp(min=_LEAST) * squares[1].clamp(min=_LEAST)).sqrt()
