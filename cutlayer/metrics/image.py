"""Pixel-wise and structural nearness, one score for each image, on [0, 1].

SSIM is that of Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP,
2004: a Gaussian window of 11 pixels with sigma 1.5, averaged over the positions where it lies within the image. Padding
with zeros instead, as some published attacks do, lifts every score, for the two images agree in the padding.
"""

import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from cutlayer.metrics.base import Metric, check_images

_WINDOW, _SIGMA = 11, 1.5


def mse(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Mean squared error of each image, ``(N,)`` in [0, 1]."""
    check_images(reconstructions, originals)
    return (reconstructions - originals).square().flatten(1).mean(1)


def psnr_db(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, ``(N,)`` in dB; infinite for an exact copy."""
    return -10 * mse(reconstructions, originals).log10()


def ssim(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Structural similarity of each image, ``(N,)`` in [-1, 1]: the mean over positions and channels.

    In images of less than 11 pixels the window is the largest odd one that fits, and sigma shrinks with it.
    """
    check_images(reconstructions, originals)
    window = min(_WINDOW, (min(originals.shape[2:]) - 1) // 2 * 2 + 1)
    settings = {"gaussian_weights": True, "sigma": _SIGMA * window / _WINDOW, "use_sample_covariance": False}
    pairs = zip(originals.double().cpu().numpy(), reconstructions.double().cpu().numpy(), strict=True)
    scores = [structural_similarity(x, y, channel_axis=0, data_range=1.0, **settings) for x, y in pairs]
    return torch.tensor(scores, dtype=reconstructions.dtype)


MSE = Metric("mse", "", "low", mse)
PSNR = Metric("psnr", "dB", "high", psnr_db)
SSIM = Metric("ssim", "", "high", ssim)
