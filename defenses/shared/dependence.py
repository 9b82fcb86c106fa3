"""Dependence of two variables, from a batch of both: distance correlation and the Hilbert-Schmidt criterion.

Both are computed from the distances within a batch, in float32 whatever the autocast, and gradients flow through both.
A constant, and so a batch of one, has no dependence on anything, and no gradient.

G. Székely, M. Rizzo, N. Bakirov, "Measuring and Testing Dependence by Correlation of Distances", Annals of Statistics
35(6), 2007. A. Gretton, O. Bousquet, A. Smola, B. Schölkopf, "Measuring Statistical Dependence with Hilbert-Schmidt
Norms", ALT 2005; normalized as in K. Fukumizu, A. Gretton, X. Sun, B. Schölkopf, NIPS 2007. A. Gretton, A. Smola,
O. Bousquet, R. Herbrich, A. Belitski, M. Augath, Y. Murayama, J. Pauls, B. Schölkopf, N. Logothetis, "Kernel
Constrained Covariance for Dependence Measurement", AISTATS 2005.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

TINY = 1e-12
"""Smallest variance that is divided by."""
RIDGE = 1e-5
"""Regularization of a kernel matrix, to be multiplied by the size of the batch (BiDO, `hsic_normalized_cca`)."""


def squared_distances(samples: Tensor) -> Tensor:
    """Squared Euclidean distance of every two samples: ``(N, ...)`` -> ``(N, N)`` float32."""
    with torch.autocast(samples.device.type, enabled=False):
        flat = samples.float().flatten(1)
        flat = flat - flat.mean(0)  # far from the origin, the difference of squares below would be all rounding
        square = flat.square().sum(1)
        distances = (square[:, None] + square - 2 * flat @ flat.T).clamp(min=0)
        return distances.fill_diagonal_(0)


def distance_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Distance correlation of two paired batches, ``(N, ...)`` each; a scalar in [0, 1], invariant to scale and shift.

    It is the biased statistic that the literature uses, 0.5 for ``y = x**2`` on a symmetric interval. In few samples of
    many dimensions even independent variables come near 1, so that its value is no measure of privacy.
    """
    a, b = _centered_distances(x), _centered_distances(y)
    variances = (a * a).mean() * (b * b).mean()
    return ((a * b).mean() / variances.clamp(min=TINY).sqrt()).clamp(min=TINY).sqrt()


def gaussian_kernel(samples: Tensor, sigma: float = 5.0) -> Tensor:
    """``exp(-||x - x'||^2 / 2 sigma^2 D)`` for every two samples of D features: ``(N, ...)`` -> ``(N, N)``."""
    return (squared_distances(samples) / (-2 * sigma**2 * samples[0].numel())).exp()


def label_kernel(labels: Tensor) -> Tensor:
    """The linear kernel of one-hot labels: ``(N,)`` -> ``(N, N)``, 1 where two are equal."""
    return (labels[:, None] == labels).float()


def hsic(kernel_x: Tensor, kernel_y: Tensor) -> Tensor:
    """Normalized HSIC of two kernel matrices ``(N, N)`` of one batch: a scalar from 0 to N - 1.

    ``tr(R_x R_y)`` with ``R = K (K + RIDGE N I)^-1`` of the centered kernel K.
    """
    return (_normalized(kernel_x) * _normalized(kernel_y)).sum()


def coco(kernel_x: Tensor, kernel_y: Tensor) -> Tensor:
    """Constrained covariance of two kernel matrices ``(N, N)`` of one batch, a scalar: ``sqrt(||K_x K_y||) / N``.

    As in the code of BiDO the norm of the centered kernels' product is Frobenius'; that of the definition is the
    greatest singular value, which is no more.
    """
    product = _centered(kernel_x) @ _centered(kernel_y)
    value: Tensor = product.norm().clamp(min=TINY).sqrt() / len(kernel_x)
    return value


def bilateral(
    dependence: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    layers: Sequence[Tensor],
    labels: Tensor,
    weight_x: float,
    weight_y: float,
) -> Tensor:
    """``weight_x * sum_j dep(X, Z_j) - weight_y * sum_j dep(Z_j, Y)`` over the hidden layers, the terms of BiDO.

    Args:
        dependence: `hsic` or `coco`.
        inputs: ``(N, *input.shape)``.
        layers: Outputs of the hidden layers, ``(N, ...)`` each.
        labels: ``(N,)``.
        weight_x: Weight of the dependence on the input; the term is left out at 0, as the other.
        weight_y: Weight of the dependence on the label.
    """
    kernels = [gaussian_kernel(layer) for layer in layers]
    total = inputs.new_zeros(())
    for weight, other in ((weight_x, gaussian_kernel(inputs)), (-weight_y, label_kernel(labels))):
        if weight:
            total = total + weight * torch.stack([dependence(kernel, other) for kernel in kernels]).sum()
    return total


def _centered_distances(samples: Tensor) -> Tensor:
    squared = squared_distances(samples)
    apart = squared > 0  # the slope of the root is infinite at 0
    distances = torch.where(apart, torch.where(apart, squared, 1).sqrt(), 0)
    return _centered(distances / distances.mean().clamp(min=TINY))


def _centered(matrix: Tensor) -> Tensor:
    """Subtract the means, so that all rows and columns have mean 0."""
    return matrix - matrix.mean(0, keepdim=True) - matrix.mean(1, keepdim=True) + matrix.mean()


def _normalized(kernel: Tensor) -> Tensor:
    centered = _centered(kernel)
    ridge = RIDGE * len(kernel) * torch.eye(len(kernel), device=kernel.device)
    solved: Tensor = torch.linalg.solve(centered + ridge, centered)
    return solved
