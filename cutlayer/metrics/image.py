"""Pixel-wise and structural nearness, one score for each image, on [0, 1].

SSIM is that of Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP,
2004: a Gaussian window of 11 pixels with sigma 1.5, averaged over the positions where it lies within the image. Padding
with zeros instead, as some published attacks do, lifts every score, for the two images agree in the padding.
"""

import torch
from torch import Tensor
from torch.nn import functional

from cutlayer.metrics.base import Metric, check_images

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def mse(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Mean squared error of each image, ``(N,)`` in [0, 1]."""
    check_images(reconstructions, originals)
    return (reconstructions - originals).square().flatten(1).mean(1)


def psnr_db(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, ``(N,)`` in dB; infinite for an exact copy."""
    return -10 * mse(reconstructions, originals).log10()


def ssim(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Structural similarity of each image, ``(N,)`` in [-1, 1]: the mean over positions and channels.

    In images of less than 11 pixels the window is the largest odd one that fits.
    """
    check_images(reconstructions, originals)
    x, y = reconstructions.double(), originals.double()
    window = _gaussian(min(_WINDOW, (min(x.shape[2:]) - 1) // 2 * 2 + 1)).to(x)

    def local_mean(images: Tensor) -> Tensor:
        planes = images.flatten(0, 1)[:, None]
        return functional.conv2d(functional.conv2d(planes, window), window.mT)

    mean_x, mean_y = local_mean(x), local_mean(y)
    variance_x, variance_y = local_mean(x * x) - mean_x**2, local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return (likeness * structure).reshape(len(x), -1).mean(1).to(reconstructions.dtype)


def _gaussian(side: int) -> Tensor:
    """One axis of the window, as a kernel ``(1, 1, 1, side)`` of sum 1."""
    weights = torch.exp(-((torch.arange(side, dtype=torch.float64) - side // 2) ** 2) / (2 * _SIGMA**2))
    return (weights / weights.sum())[None, None, None]


MSE = Metric("mse", "", "low", mse)
PSNR = Metric("psnr", "dB", "high", psnr_db)
SSIM = Metric("ssim", "", "high", ssim)
