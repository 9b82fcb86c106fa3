"""Pixel-wise and structural nearness, one score for each image, on [0, 1].

SSIM is that of Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP,
2004: a Gaussian window of 11 pixels with sigma 1.5, averaged over the positions where it lies within the image. Padding
with zeros instead, as some published attacks do, lifts every score, for the two images agree in the padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutlayer.metrics.base import Metric

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = 11
"""Side of the window of SSIM, in pixels."""
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2


def mse(reconstructions: Tensor, originals: Tensor, *_: Tensor) -> Tensor:
    """Mean squared error of each image, ``(N,)`` in [0, 1]."""
    return (reconstructions - originals).square().flatten(1).mean(1)


def psnr_db(reconstructions: Tensor, originals: Tensor, *_: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, ``(N,)`` in dB; infinite for an exact copy."""
    return -10 * mse(reconstructions, originals).log10()


def ssim(reconstructions: Tensor, originals: Tensor, *_: Tensor) -> Tensor:
    """Structural similarity of each image, ``(N,)`` in [-1, 1]: the mean over positions and channels.

    In images of less than 11 pixels the window is the largest odd one that fits, and sigma shrinks with it.
    """
    return structural_similarity(reconstructions.double(), originals.double()).to(reconstructions.dtype)


def structural_similarity(x: Tensor, y: Tensor) -> Tensor:
    """`ssim` for use in a loss: differentiable in both, computed in their precision, and nothing is checked.

    Args:
        x: ``(N, C, H, W)``, float32 or wider: variances are differences of nearly equal numbers.
        y: ``(N, C, H, W)``.
    """
    import torch

    # Half precision would turn a flat region's variance into noise, so no autocast in here.
    with torch.autocast(x.device.type, enabled=False):
        squares, product, variances, covariance = _moments(x, y)
        likeness = (2 * product + _C1) * (2 * covariance + _C2)
        return (likeness / ((squares + _C1) * (variances + _C2))).flatten(1).mean(1)


def contrast_similarity(x: Tensor, y: Tensor) -> Tensor:
    """The part of `structural_similarity` that does not depend on the brightness, ``(N,)``."""
    _, _, variances, covariance = _moments(x, y)
    return ((2 * covariance + _C2) / (variances + _C2)).flatten(1).mean(1)


def _moments(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Within each window: sum of the squared means, product of the means, sum of the variances, covariance."""
    size = min(WINDOW, (min(y.shape[2:]) - 1) // 2 * 2 + 1)
    rows, columns = _windows(y.shape[2], size, y), _windows(y.shape[3], size, y)
    mean_x, mean_y, xx, yy, xy = (rows @ z @ columns.mT for z in (x, y, x * x, y * y, x * y))
    squares, product = mean_x.square() + mean_y.square(), mean_x * mean_y
    return squares, product, xx + yy - squares, xy - product


def _windows(side: int, size: int, like: Tensor) -> Tensor:
    """Gaussian weights at each place where the window lies within a side, ``(side - size + 1, side)``.

    The two-dimensional window is a product, so weighting is a matrix product on each side; as convolutions of single
    channels it took 38 times as long on a CPU.
    """
    import torch

    starts, places = (torch.arange(n, dtype=like.dtype, device=like.device) for n in (side - size + 1, side))
    distance = places - starts[:, None] - size // 2
    weights = (-(distance / (_SIGMA * size / WINDOW)).square() / 2).exp() * (distance.abs() <= size // 2)
    return weights / weights.sum(1, keepdim=True)


MSE = Metric(
    "MSE",
    "mean squared error of the pixels, each between 0 and 1.",
    "low",
    mse,
    digits=4,
    modalities=("image", "table"),
)
PSNR = Metric(
    "PSNR",
    "peak signal-to-noise ratio, the mean over pictures; it rises by 10 where the squared error falls to a tenth.",
    "high", psnr_db, unit="dB", digits=2, modalities=("image", "table"),
)  # fmt: skip
SSIM = Metric("SSIM", "structural similarity; 1 is the same picture, 0 is nothing in common.", "high", ssim)
