"""The first layer of every head, so that images are in [0, 1] at every public boundary."""

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Subtracts the mean and divides by the standard deviation; both travel with the weights.

    Args:
        channels: Number of channels.
        mean: One value for each channel, or one for all.
        std: Likewise. With the defaults, images in [0, 1] become images in [-1, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, mean: tuple[float, ...] = (0.5,), std: tuple[float, ...] = (0.5,)) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1).repeat(channels // len(mean), 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1).repeat(channels // len(std), 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape."""
        return (images - self.mean) / self.std
