"""A small network that changes smashed data and keeps its shape: it imitates what is too costly for a device."""

from math import prod

import torch
from torch import Tensor, nn


class Imitation(nn.Module):
    """``(N, *smashed)`` -> the same shape, within the bounds: the input and a learned change, at first none.

    Grids pass through three convolutions, all else through two linear layers.

    Args:
        smashed: Shape of the smashed data of one input.
        width: Channels between the first layer and the last.
        low: Least value of the output; None for no bound.
        high: Greatest value of the output; None for no bound.
    """

    def __init__(self, smashed: tuple[int, ...], width: int, low: float | None, high: float | None) -> None:
        super().__init__()
        last: nn.Conv2d | nn.Linear
        if len(smashed) == 3:
            last = nn.Conv2d(width, smashed[0], 3, padding=1)
            middle = [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
            self.change = nn.Sequential(nn.Conv2d(smashed[0], width, 3, padding=1), nn.ReLU(), *middle, last)
        else:
            last = nn.Linear(width, prod(smashed))
            first = nn.Linear(prod(smashed), width)
            self.change = nn.Sequential(nn.Flatten(), first, nn.ReLU(), last, nn.Unflatten(1, smashed))
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        self.low, self.high = low, high

    def forward(self, smashed: Tensor) -> Tensor:
        """Add the learned change to a batch ``(N, *smashed)``."""
        changed: Tensor = smashed + self.change(smashed)
        return changed if (self.low, self.high) == (None, None) else torch.clamp(changed, self.low, self.high)
