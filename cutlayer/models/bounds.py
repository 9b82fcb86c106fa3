"""Layers that bound the smashed data, so that training cannot scale it up until the noise becomes small beside it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Affine(nn.Module):
    """Compute ``factor * x + offset``; both are stored with the weights and not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def set(self, factor: float, offset: float = 0.0) -> None:
        """Set the factor and the offset."""
        self.get_buffer("factor").fill_(factor)
        self.get_buffer("offset").fill_(offset)

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor of any shape to one of the same shape."""
        return self.factor * x + self.offset  # type: ignore[operator]


class Clip(nn.Module):
    """Clip values to [-1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor of any shape to one of the same shape."""
        return x.clamp(-1, 1)


class Sphere(nn.Module):
    """Divide each row by its L2 norm, so that the norm of what comes out is 1; near 0, and at infinity, it is less."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, d)`` to the same shape."""
        # At 0 the root has no gradient.
        return x / (x.square().sum(1, keepdim=True) + 1e-12).sqrt()


class Codebook(nn.Module):
    """Put in place of each row the codeword, one of a fixed number, whose inner product with it is greatest.

    Args:
        codewords: Number of codewords.
        numbers: Numbers in each.
    """

    def __init__(self, codewords: int, numbers: int) -> None:
        super().__init__()
        self.register_buffer("codewords", torch.zeros(codewords, numbers))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, numbers)`` to the same shape; the gradient is that of the identity."""
        codewords = self.get_buffer("codewords")
        # The sum is exact, because the difference is 0, so that equal codewords stay equal bit for bit.
        return codewords[(x @ codewords.T).argmax(1)] + (x - x.detach())


BOUNDS: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "clip": Clip}
"""The layers that can bound the smashed data: to [-1, 1], to [0, 1], to [-1, 1]."""

TANGENTS: dict[str, tuple[float, float]] = {"tanh": (1.0, 0.0), "sigmoid": (4.0, -2.0), "clip": (1.0, 0.0)}
"""Factor and offset of the line that inverts each layer near 0."""
