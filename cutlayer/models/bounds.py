"""Layers that keep the smashed data within fixed limits, so that a network in training cannot out-scale the noise."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Affine(nn.Module):
    """``factor * x + offset``, both fixed: stored with the weights, not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def set(self, factor: float, offset: float = 0.0) -> None:
        """Fix both."""
        self.get_buffer("factor").fill_(factor)
        self.get_buffer("offset").fill_(offset)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, which stays."""
        return self.factor * x + self.offset  # type: ignore[operator]


class Clip(nn.Module):
    """Cut off what lies beyond -1 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, which stays."""
        return x.clamp(-1, 1)


BOUNDS: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "clip": Clip}
"""What can bound the smashed data: to [-1, 1], to [0, 1], to [-1, 1]."""

TANGENTS: dict[str, tuple[float, float]] = {"tanh": (1.0, 0.0), "sigmoid": (4.0, -2.0), "clip": (1.0, 0.0)}
"""Factor and offset of the line that undoes each of them near 0."""
