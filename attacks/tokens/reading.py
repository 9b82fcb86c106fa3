"""Base of the attacks that score all tokens for each row of what arrived."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.attacks.tokens.pairs import present
from cutlayer.sequences import PAD

MOST_SCORES = 1 << 24
"""Scores that are held at a time."""


@dataclass(kw_only=True)
class Reading(Attack):
    """Read each place by itself: the token with the greatest score."""

    rebuilds = ("tokens",)

    _vocabulary = 1
    """Number of ids; `fit` sets it."""

    def scores(self, smashed: Tensor, at: Tensor) -> Tensor:
        """Score the tokens at each place.

        Args:
            smashed: ``(N, T, width)``, as it arrived, on the device of the attacker.
            at: ``(N, T)``, the M places that hold a token.

        Returns:
            ``(M, vocabulary)``, greatest for the token that is most likely.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks scores()")

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, T, width)`` -> ids ``(N, T)``."""
        return self.ranked(smashed, 1)[..., 0]

    def ranked(self, smashed: Tensor, n: int) -> Tensor:
        """The n most likely tokens of each place, the best first: ids ``(N, T, n)``, `PAD` where there is no token."""
        at = present(smashed)
        ids = torch.full((*at.shape, n), PAD, device=smashed.device)
        for here in in_parts(at, self._vocabulary):
            scored = self.scores(smashed[here], at[here])
            # No attack answers with what stands for no token.
            scored[:, PAD] = -torch.inf
            ids[here][at[here]] = scored.topk(n).indices
        return ids


def in_parts(at: Tensor, vocabulary: int) -> Iterator[slice]:
    """Sentences whose scores are held together."""
    tokens, first, held = at.sum(1).tolist(), 0, 0
    for i, n in enumerate(tokens):
        if held and (held + n) * vocabulary > MOST_SCORES:
            yield slice(first, i)
            first, held = i, 0
        held += n
    if first < len(tokens):
        yield slice(first, len(tokens))
