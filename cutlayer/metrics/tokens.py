"""How much of a sentence was read: the share of its tokens, and whether all of them are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutlayer.metrics.base import Metric
from cutlayer.sequences import PAD

if TYPE_CHECKING:
    from torch import Tensor


def right_share(reconstructions: Tensor, originals: Tensor, *_: Tensor) -> Tensor:
    """The share of the tokens of each original, ``(N, T)``, that stand in their places: ``(N,)``.

    Places behind the end of an original do not count: what arrives tells where that is.
    """
    counted = originals != PAD
    right = (reconstructions == originals) & counted
    shares: Tensor = right.sum(1).float() / counted.sum(1).clamp(min=1)
    return shares


def wrong_share(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """The share of the tokens of each original that are wrong, ``(N,)``."""
    return 1 - right_share(reconstructions, originals)


def exact(reconstructions: Tensor, originals: Tensor, *_: Tensor) -> Tensor:
    """Whether every token of each original is right, ``(N,)``: 0 or 1."""
    return (right_share(reconstructions, originals) == 1).float()


def differing(queries: Tensor, pool: Tensor) -> Tensor:
    """The number of places in which each query, ``(N, T)``, differs from each entry of a pool, ``(M, T)``: ``(N, M)``.

    Places behind the end of an entry of the pool count where the query holds a token there.
    """
    import torch

    return torch.stack([(query != pool.to(queries.device)).sum(1) for query in queries]).float()


TOKEN_ACCURACY = Metric(
    "Tokens read",
    "share of the tokens of a sentence that were read rightly, each in its place; the mean over sentences.",
    "high", right_share, unit="%", digits=1, factor=100, modalities=("tokens",),
)  # fmt: skip
EXACT = Metric(
    "Sentences read", "share of the sentences of which every token was read rightly.",
    "high", exact, unit="%", digits=1, factor=100, modalities=("tokens",), of_yes_or_no=True,
)  # fmt: skip
