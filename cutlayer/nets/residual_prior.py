"""How a reconstruction differs from the truth: a Gaussian over residuals, estimated from few images.

A residual is modeled as  mean + D F u  with u standard normal: F scales each frequency of the cosine transform, in each
principal color, by the standard deviation of the residuals there, and D scales each pixel. So a search over u, with the
penalty |u|^2, moves fast where the reconstruction is often wrong and hardly where it never is. The covariance of all
pixels would need as many images as pixels; this one has two numbers for each pixel, both smoothed.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

LEAST = 1e-4
"""Least standard deviation of a residual, in pixel units."""
NEIGHBORHOOD = 3
"""Side of the square over which neighboring frequencies, and pixels, share their variance."""


class ResidualPrior:
    """The covariance of residuals, as a map from white coefficients to images.

    Args:
        residuals: ``(N, C, H, W)``, truth minus reconstruction, in pixel units.
    """

    def __init__(self, residuals: Tensor) -> None:
        _, channels, height, width = residuals.shape
        self._rows, self._columns = (cosines(side).to(residuals) for side in (height, width))
        flat = residuals.movedim(1, -1).reshape(-1, channels)
        self._colors = torch.linalg.eigh((flat.T @ flat).cpu().double())[1].to(residuals)
        self._pixels = _smooth(residuals.square().mean(dim=(0, 1))[None]).sqrt().clamp(min=LEAST)
        white = self._transform(residuals / self._pixels)
        self._frequencies = _smooth(white.square().mean(dim=0)).sqrt().clamp(min=LEAST)

    def image(self, coefficients: Tensor) -> Tensor:
        """The residuals that these coefficients mean, ``(N, C, H, W)`` -> same shape."""
        scaled = (coefficients * self._frequencies).movedim(1, -1) @ self._colors.T
        images: Tensor = (self._rows.T @ scaled.movedim(-1, 1) @ self._columns) * self._pixels
        return images

    def coefficients(self, residuals: Tensor) -> Tensor:
        """The inverse of `image`."""
        return self._transform(residuals / self._pixels) / self._frequencies

    def _transform(self, images: Tensor) -> Tensor:
        mixed = (images.movedim(1, -1) @ self._colors).movedim(-1, 1)
        frequencies: Tensor = self._rows @ mixed @ self._columns.T
        return frequencies


def cosines(side: int) -> Tensor:
    """The orthonormal cosine transform (type II) of this length, a row for each frequency, ``(side, side)``."""
    places, frequencies = torch.arange(side) + 0.5, torch.arange(side).view(-1, 1)
    waves = torch.cos(math.pi / side * frequencies * places) * math.sqrt(2 / side)
    waves[0] /= math.sqrt(2)
    return waves


def _smooth(variances: Tensor) -> Tensor:
    """``(C, H, W)``, each the mean over its neighborhood within the image."""
    if min(variances.shape[1:]) < NEIGHBORHOOD:
        return variances
    return avg_pool2d(variances[None], NEIGHBORHOOD, stride=1, padding=NEIGHBORHOOD // 2, count_include_pad=False)[0]
