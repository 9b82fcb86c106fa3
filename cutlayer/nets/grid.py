"""The ends of a decoder: from any smashed data to a grid of features, and from any grid to the size of the image.

A grid is padded, doubled and cropped about its center, so that the features of a network without padding keep their
place in the image: 8x8 features with a stride of 2 in 28x28 pixels become 14x14, then 28x28. The features of a network
with padding divide the image evenly and need neither. Token sequences (ViT) and channels-last grids (Swin) become
channels-first grids; any other vector passes through a linear layer.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, pad


def layout(smashed: tuple[int, ...]) -> str:
    """The layout of smashed data of this shape: channels first, channels last, tokens, or a vector if it is no grid."""
    if len(smashed) == 3:
        return "channels last" if smashed[0] == smashed[1] != smashed[2] else "channels first"  # swin: (h, w, channels)
    if len(smashed) == 2 and (side := math.isqrt(smashed[0])) > 1 and smashed[0] - side**2 in (0, 1):
        return "tokens"  # vit: (tokens, channels)
    return "vector"


def channel_axis(smashed: tuple[int, ...]) -> int:
    """The axis of one sample's smashed data that holds the channels, from 0."""
    return len(smashed) - 1 if layout(smashed) in ("channels last", "tokens") else 0


class Grid(nn.Module):
    """Convert smashed data of any shape to ``(N, channels, height, width)``.

    Attributes:
        doublings: Number of times to double the grid on the way to the image.
    """

    def __init__(self, smashed: tuple[int, ...], image: tuple[int, ...]) -> None:
        super().__init__()
        self.linear = nn.Sequential()
        self.layout = layout(smashed)
        if self.layout == "channels last":
            self.height, self.width, self.channels = smashed
        elif self.layout == "channels first":
            self.channels, self.height, self.width = smashed
        elif self.layout == "tokens":
            side = math.isqrt(smashed[0])
            self.height, self.width, self.channels = side, side, smashed[1]
        else:
            self.channels, self.height, self.width = 64, math.ceil(image[1] / 4), math.ceil(image[2] / 4)
            values = self.channels * self.height * self.width
            self.linear = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(smashed), values))
        scale = min(image[1] / self.height, image[2] / self.width)
        self.doublings = 2 if self.layout == "vector" else max(0, math.floor(math.log2(scale)))

    def forward(self, smashed: Tensor) -> Tensor:
        """Map ``(N, *smashed)`` to ``(N, channels, height, width)``."""
        if self.layout == "channels first":
            return smashed
        if self.layout == "channels last":
            return smashed.permute(0, 3, 1, 2)
        if self.layout == "tokens":  # a class token, if there is one, comes first
            smashed = smashed[:, -self.height * self.width :].mT
        flat: Tensor = self.linear(smashed)
        return flat.reshape(-1, self.channels, self.height, self.width)


class Standardize(nn.Module):
    """Subtract a fixed mean and divide by a fixed deviation for each channel; `measure` sets both."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("deviation", torch.ones(channels, 1, 1))

    def measure(self, grid: Tensor) -> None:
        """Set both from ``(N, channels, h, w)``; a constant channel keeps its scale."""
        deviation, mean = torch.std_mean(grid, dim=(0, 2, 3), keepdim=True)
        self.mean.copy_(mean[0])
        self.deviation.copy_(torch.where(deviation[0] > 0, deviation[0], 1.0))

    def forward(self, grid: Tensor) -> Tensor:
        """Map ``(N, channels, h, w)`` to the same shape."""
        return (grid - self.mean) / self.deviation


@torch.no_grad()
def standardize(network: nn.Module, smashed: Tensor) -> None:
    """Have a network that begins with `Grid` and `Standardize` scale its channels by the statistics of this data."""
    grid, layer, *_ = network.children()
    assert isinstance(layer, Standardize)
    layer.measure(grid(smashed))


def parted(network: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
    """The layers before the first one that has weights, and the rest, which starts with it.

    What the first ones make of data does not change while the rest is trained.
    """
    layers = list(network)
    begin = next((k for k, layer in enumerate(layers) if any(True for _ in layer.parameters())), len(layers))
    return nn.Sequential(*layers[:begin]), nn.Sequential(*layers[begin:])


class Fit(nn.Module):
    """Change a grid to this height and width: average if it is at least twice as large, else pad or crop the edges."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = height, width

    def forward(self, grid: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to ``(N, C, height, width)``."""
        height, width = self.size
        if min(grid.shape[2] / height, grid.shape[3] / width) >= 2:
            return adaptive_avg_pool2d(grid, self.size)
        top, left = (height - grid.shape[2]) // 2, (width - grid.shape[3]) // 2
        return pad(grid, (left, width - grid.shape[3] - left, top, height - grid.shape[2] - top))
