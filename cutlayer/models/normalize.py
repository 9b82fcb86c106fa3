"""The first layer of every head, so that images are in [0, 1] at every public boundary."""

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Maps images from [0, 1] to [-1, 1]. Mean and standard deviation travel with the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((channels, 1, 1), 0.5))
        self.register_buffer("std", torch.full((channels, 1, 1), 0.5))

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` in [0, 1] to the same shape in [-1, 1]."""
        return (images - self.mean) / self.std
