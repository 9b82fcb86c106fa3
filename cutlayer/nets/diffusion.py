"""A small diffusion prior: a network that removes noise of any strength from an image, and so knows what images are.

    x_t = alpha_t x_0 + sigma_t eps,    alpha_t = cos(angle(t)),    sigma_t = sin(angle(t)),        0 <= t <= 1
    theta* = argmin  E ||v_theta(x_t, t) - (alpha_t eps - sigma_t x_0)||^2

J. Ho, A. Jain, P. Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020, https://arxiv.org/abs/2006.11239,
with the cosine schedule of A. Nichol, P. Dhariwal, "Improved Denoising Diffusion Probabilistic Models", ICML 2021.

Differs from the papers:

- The network predicts v (T. Salimans, J. Ho, "Progressive Distillation", ICLR 2022), because the image that eps means
  is unbounded where nearly all is noise, and few steps are taken here. Time is continuous.
- Squares of 2x2 pixels become channels first, there is no attention, and there are three levels: the network is made
  to be trained on a processor in minutes.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, pixel_shuffle, pixel_unshuffle, silu

from cutlayer.nets.corrector import FOLD

OFFSET = 0.008
"""Keeps the first noise from vanishing (Nichol and Dhariwal, eq. 17)."""
WAVES = 16
"""Frequencies by which the network is told the time."""
GROUP = 16
"""Channels that are normalized together."""


def scales(t: Tensor) -> tuple[Tensor, Tensor]:
    """The factors alpha of the image and sigma of the noise at these times; both the shape of `t`."""
    angle = (t + OFFSET) / (1 + OFFSET) * math.pi / 2
    first = math.cos(OFFSET / (1 + OFFSET) * math.pi / 2)
    alpha = (angle.cos() / first).clamp(0, 1)
    return alpha, (1 - alpha.square()).sqrt()


class Denoiser(nn.Module):
    """A U-Net ``(N, C, H, W), (N,)`` -> ``(N, C, H, W)``: noisy images in [-1, 1] and their times, to v.

    Args:
        image: ``(C, H, W)``.
        width: Channels at half resolution; a quarter has twice as many, an eighth four times.
        classes: Number of classes that the network is told as well, 0 for none; the class `classes` is any class.
    """

    frequencies: Tensor

    def __init__(self, image: tuple[int, ...], width: int, classes: int = 0) -> None:
        super().__init__()
        folded, widths = image[0] * FOLD**2, (width, 2 * width, 4 * width)
        self.register_buffer("frequencies", torch.logspace(0, 3, WAVES) * math.pi / 2)
        self.time = nn.Sequential(nn.Linear(2 * WAVES, 4 * width), nn.SiLU())
        self.labels = nn.Embedding(classes + 1, 4 * width) if classes else None
        self.first = nn.Conv2d(folded, width, 3, padding=1)
        self.down = nn.ModuleList(Block(*ends, 4 * width) for ends in zip((width, *widths), widths, strict=False))
        self.middle = Block(widths[-1], widths[-1], 4 * width)
        ends = zip((widths[-1], *widths[:0:-1]), widths[::-1], strict=True)
        self.up = nn.ModuleList(Block(below + beside, beside, 4 * width) for below, beside in ends)
        self.last = nn.Sequential(_normalized(width), nn.SiLU(), nn.Conv2d(width, folded, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Estimate v = alpha eps - sigma x_0 from ``x`` of these times ``t``, and classes ``y`` ``(N,)`` if any."""
        height, width = x.shape[2:]
        waves = t[:, None] * self.frequencies
        when = self.time(torch.cat([waves.sin(), waves.cos()], dim=1))
        if self.labels is not None:
            when = when + self.labels(y)
        x = self.first(pixel_unshuffle(pad(x, (0, width % FOLD, 0, height % FOLD), mode="replicate"), FOLD))
        beside = []
        for k, block in enumerate(self.down):
            if k:
                x = x[:, :, ::2, ::2]
            x = block(x, when)
            beside.append(x)
        x = self.middle(x, when)
        for block, side in zip(self.up, reversed(beside), strict=True):
            x = block(torch.cat([interpolate(x, size=side.shape[2:], mode="nearest"), side], dim=1), when)
        return pixel_shuffle(self.last(x), FOLD)[:, :, :height, :width]


class Block(nn.Module):
    """A residual block whose second normalization is scaled and shifted by the time."""

    def __init__(self, inputs: int, outputs: int, when: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_normalized(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.modulation = nn.Linear(when, 2 * outputs)
        self.norm = _normalized(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        self.side = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, when: Tensor) -> Tensor:
        """Map ``(N, inputs, h, w)`` and ``(N, when)`` to ``(N, outputs, h, w)``."""
        scale, shift = self.modulation(when)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = self.side(x) + self.second(silu(self.norm(self.first(x)) * (1 + scale) + shift))
        return out


def _normalized(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // math.gcd(channels, GROUP), channels)
