"""Absolute variation distance: whether two images have their edges in the same places.

G. Papadopoulos et al., "Absolute Variation Distance: An Inversion Attack Evaluation Metric for Federated Learning",
ECIR 2024, https://doi.org/10.1007/978-3-031-56066-8_20. With the differences D and D2 of neighbors along rows and
columns, summed at each pixel,

    AVD(x, y) = sqrt( mean((|D x| - |D y|)^2) + 1/2 mean((|D2 x| - |D2 y|)^2) )

as in the authors' code (https://github.com/jpmorganchase/fl-eval-kit), with its constants. Differs from it: images are
not rounded to 8 bits first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutlayer.metrics.base import Metric

if TYPE_CHECKING:
    from torch import Tensor

_SECOND = 0.5


def variation_distance(reconstructions: Tensor, originals: Tensor, *_: Tensor) -> Tensor:
    """Absolute variation distance of each image, ``(N,)``; 0 for equal ones. Images need 3 px on each side."""
    if min(originals.shape[2:]) < 3:
        raise ValueError(f"the second differences need images of 3x3 px, not {tuple(originals.shape[2:])}")
    (first, second), (true_first, true_second) = _variations(reconstructions), _variations(originals)
    squares = [(a - b).square().flatten(1).mean(1) for a, b in ((first, true_first), (second, true_second))]
    return (squares[0] + _SECOND * squares[1]).sqrt()


def _variations(images: Tensor) -> tuple[Tensor, Tensor]:
    """First and second differences of neighbors, along rows and columns together, without their sign."""
    along, down = images[..., :-1] - images[..., 1:], images[..., :-1, :] - images[..., 1:, :]
    first = (along[..., 1:, :] + down[..., 1:]).abs()
    along, down = along[..., :-1] - along[..., 1:], down[..., :-1, :] - down[..., 1:, :]
    return first, (along[..., 2:, :] + down[..., 2:]).abs()


AVD = Metric(
    "AVD", "absolute variation distance: whether edges are in the same places; 0 is the same picture.",
    "low", variation_distance, digits=4,
)  # fmt: skip
