"""Skip networks: hourglasses with side connections, whose untrained weights already prefer natural images.

D. Ulyanov, A. Vedaldi, V. Lempitsky, "Deep Image Prior", CVPR 2018, https://arxiv.org/abs/1711.10925 (supplementary
material). Each level halves the image, hands it to the next level, doubles it again, and joins it with a narrow side
connection. Its output for a fixed random input fits smooth and self-similar images much sooner than noise.

Differs from the paper: normalization is over each image by itself, which is what their batch of one image computes; the
levels are fewer, and never smaller than 2 pixels on a side, because images here may have 32 pixels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

INPUTS, SIDE = 16, 4
"""Channels of the random input, and of each side connection (theirs: 32 and 4)."""
LEAST = 2
"""Least height and width of the image at the deepest level, in pixels."""


class Level(nn.Module):
    """Half the size and back, joined with a side connection: ``(N, inputs, h, w)`` -> ``(N, widths[0], h, w)``.

    Args:
        inputs: Channels that arrive.
        widths: Channels of this level, then of those below it.
    """

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        width, *deeper = widths
        self.side = _convolution(inputs, SIDE, 1)
        self.down = nn.Sequential(_convolution(inputs, width, 3, stride=2), _convolution(width, width, 3))
        self.inner = Level(width, deeper) if deeper else nn.Identity()
        below = deeper[0] if deeper else width
        self.up = nn.Sequential(_convolution(SIDE + below, width, 3), _convolution(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, h, w)`` to ``(N, widths[0], h, w)``."""
        low = interpolate(self.inner(self.down(x)), size=x.shape[2:], mode="nearest")
        out: Tensor = self.up(torch.cat([self.side(x), low], dim=1))
        return out


def skip(image: tuple[int, ...], widths: Sequence[int]) -> nn.Sequential:
    """Build a network ``(N, INPUTS, H, W)`` -> ``(N, *image)`` in [0, 1], its weights from torch's global generator.

    Args:
        image: ``(C, H, W)``.
        widths: Channels of each level, from the outermost; levels for which the image is too small are left out.
    """
    levels = max(1, math.floor(math.log2(min(image[1:]) / LEAST)))
    widths = widths[:levels]
    return nn.Sequential(Level(INPUTS, widths), nn.Conv2d(widths[0], image[0], 1), nn.Sigmoid())


def _convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, side, stride, padding=side // 2)
    return nn.Sequential(convolution, nn.InstanceNorm2d(outputs, affine=True), nn.LeakyReLU(0.2))
