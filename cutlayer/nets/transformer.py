"""A small transformer that classifies sequences of tokens, each of which sees itself and those before it.

A. Radford, J. Wu, R. Child, D. Luan, D. Amodei, I. Sutskever, "Language Models are Unsupervised Multitask Learners"
(GPT-2), 2019. Differs from it: three blocks, random weights, and no bias in the attention.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Causal self-attention; queries, keys and values come from one layer, ``qkv``.

    Args:
        width: Numbers of a token.
        heads: Number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(N, T, width)`` to the same shape."""
        n, length, width = tokens.shape
        query, key, value = (
            part.reshape(n, length, self._heads, -1).transpose(1, 2) for part in self.qkv(tokens).split(width, 2)
        )
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        later = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        seen = scores.masked_fill(later, -torch.inf).softmax(-1) @ value
        mixed: Tensor = self.out(seen.transpose(1, 2).reshape(n, length, width))
        return mixed


class Block(nn.Module):
    """Attention and a layer for each token, each behind a normalization and added to what came."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.grow, self.shrink = (
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(N, T, width)`` to the same shape."""
        tokens = tokens + self.attention(self.norm1(tokens))
        changed: Tensor = tokens + self.shrink(functional.gelu(self.grow(self.norm2(tokens))))
        return changed


class Transformer(nn.Module):
    """Classify a sequence by its last token.

    Args:
        vocabulary: Number of tokens that there are.
        length: Tokens in a sequence at most.
        classes: Number of classes.
        width: Numbers of a token.
        heads: Heads of each attention.
        blocks: Number of blocks.
    """

    def __init__(
        self, vocabulary: int, length: int, classes: int, *, width: int = 128, heads: int = 8, blocks: int = 3
    ) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map token numbers ``(N, T)``, of any type, to logits ``(N, classes)``."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        embedded = self.token(tokens.long()) + self.position(places)
        logits: Tensor = self.head(self.norm(self.blocks(embedded))[:, -1])
        return logits
