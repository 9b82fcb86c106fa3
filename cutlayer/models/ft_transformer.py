"""A small transformer over the columns of a row of a table, cut after any block.

Y. Gorishniy, I. Rubachev, V. Khrulkov, A. Babenko, "Revisiting Deep Learning Models for Tabular Data", NeurIPS 2021,
https://arxiv.org/abs/2106.11959, the FT-Transformer: each number x becomes a token x w + b of its own weights, a token
for the class stands before them, blocks have the normalization before each part, the first none before its attention,
and the class is read from its token alone.

Differs from the paper: each of the numbers that encode a column of words is a token of its own, where theirs is one
token for each column, for a model is told the numbers and not the columns; width 32, 4 heads and 2 blocks, GELU in
place of ReGLU, no dropout.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.spec import TensorSpec

WIDTH, HEADS, BLOCKS = 32, 4, 2
ROW = TensorSpec((30,), "float32", 0.0, 1.0)
"""A row of breast-cancer, where nothing else is said."""


class FeatureTokens(nn.Module):
    """A token for the class, and one for each number: ``(N, n)`` to ``(N, n + 1, width)``."""

    def __init__(self, numbers: int, width: int) -> None:
        super().__init__()
        reach = width**-0.5
        self.weight = nn.Parameter(torch.empty(numbers, width).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.empty(numbers + 1, width).uniform_(-reach, reach))

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows to tokens."""
        # Of the token of the class nothing depends on the row.
        weighted = functional.pad(rows.unsqueeze(2) * self.weight, (0, 0, 1, 0))
        tokens: Tensor = weighted + self.bias
        return tokens


class FeatureBlock(nn.Module):
    """Attention among the tokens, and a layer for each, both added to what came: ``(N, T, width)`` to the same."""

    def __init__(self, width: int, heads: int, *, first: bool) -> None:
        super().__init__()
        self._heads = heads
        self.norm1 = nn.Identity() if first else nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.grow, self.shrink = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens to tokens."""
        mixed = self.qkv(self.norm1(tokens)).unflatten(2, (3, self._heads, -1))
        query, key, value = mixed.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(-1)
        tokens = tokens + self.out((weights @ value).transpose(1, 2).flatten(2))
        changed: Tensor = tokens + self.shrink(functional.gelu(self.grow(self.norm2(tokens))))
        return changed


class ClassToken(nn.Module):
    """The token of the class, ``(N, T, width)`` to ``(N, width)``."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Take the first token."""
        return tokens[:, 0]


def ft_transformer(input: TensorSpec = ROW, classes: int = 2) -> nn.Module:
    """Two blocks of width 32 with 4 heads over the numbers of a row; the token of the class is classified."""
    if input.is_tokens or len(input.shape) != 1:
        raise ValueError("it takes rows of a table.")
    layers: list[tuple[str, nn.Module]] = [("features", FeatureTokens(input.size, WIDTH))]
    layers += [(f"block{i}", FeatureBlock(WIDTH, HEADS, first=i == 1)) for i in range(1, BLOCKS + 1)]
    layers += [("token", ClassToken()), ("norm", nn.LayerNorm(WIDTH)), ("relu", nn.ReLU())]
    return nn.Sequential(OrderedDict([*layers, ("classifier", nn.Linear(WIDTH, classes))]))
