"""The first layer of every head, so that images are in [0, 1] at every public boundary."""

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Subtracts the mean and divides by the standard deviation; both travel with the weights.

    Args:
        channels: Number of channels.
        mean: One value for each channel, or one for all.
        std: Likewise. With the defaults, images in [0, 1] become images in [-1, 1].
        axes: Number of axes behind the channels: 2 of an image, 0 of a row of a table.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, channels: int, mean: tuple[float, ...] = (0.5,), std: tuple[float, ...] = (0.5,), axes: int = 2
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            each = torch.tensor(values).repeat(channels // len(values))
            self.register_buffer(name, each.reshape(channels, *[1] * axes))

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, C, *axes)`` to the same shape."""
        return (images - self.mean) / self.std
