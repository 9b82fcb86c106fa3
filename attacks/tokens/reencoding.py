"""Encoding a guess again: what a sentence would have sent, and how well that fits what arrived.

    fit(a, x) = sum_i  log N(a_i; bias + gain e(x)_i, variance)

with e(x) the rows of the sentence x, from the head itself or as a mean of queries. Gain, bias and variance of what a
defense makes of a row are learned from the attacker's own sentences; where the rows are noisy means, their noise is
part of the variance.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cutlayer.attacks.queries import release
from cutlayer.attacks.view import View
from cutlayer.sequences import PAD

MOST_TOKENS = 1 << 16
"""Tokens that the head is given at a time."""
MOST_VALUES = 1 << 24
"""Numbers of rows that are held at a time."""
EXACT = 1e-4
"""Share of a row's variance that rounding may leave; with less than it nothing but the right words fits."""

Encode = Callable[[Tensor], Tensor]
"""Ids ``(n, T)`` to the rows that they give, ``(n, T, width)``, zero behind their ends."""


def by_head(head: nn.Module) -> Encode:
    """The rows that a head gives, each of its own sentence."""

    def encode(ids: Tensor) -> Tensor:
        longest = int(ids.ne(PAD).sum(1).max())
        with torch.no_grad():
            parts = ids[:, :longest].split(max(1, MOST_TOKENS // longest))
            rows = torch.cat([head(part) for part in parts])
        whole = rows.new_zeros(*ids.shape, *rows.shape[2:])
        whole[:, :longest] = rows
        return whole.flatten(2)

    return encode


def by_queries(view: View, n: int) -> Encode:
    """The mean of n releases of each sentence; of one where the defense draws nothing."""
    query, times, device = view.query, n if view.random else 1, view.device

    def encode(ids: Tensor) -> Tensor:
        total = release(query, ids, device)
        for _ in range(times - 1):
            total += release(query, ids, device)
        return (total / times).flatten(2)

    return encode


class Reencoding:
    """How well sentences fit what arrived, learned from sentences of the attacker's own.

    Args:
        encode: What gives the rows of sentences.
        ids: Sentences of the attacker's own, ``(N, T)``.
        arrived: What arrived for them, ``(N, T, width)``.

    Attributes:
        encode: As above.
        exact: Whether nothing but rounding lies between what is computed and what arrives.
    """

    def __init__(self, encode: Encode, ids: Tensor, arrived: Tensor) -> None:
        self.encode = encode
        computed, at = encode(ids), ids.ne(PAD)
        rows, own = arrived.flatten(2)[at], computed[at]
        away, own_away = rows - rows.mean(0), own - own.mean(0)
        self._gain = (away * own_away).mean(0) / own_away.square().mean(0).clamp(min=1e-12)
        self._bias = rows.mean(0) - self._gain * own.mean(0)
        left = (rows - self._bias - self._gain * own).square().mean(0)
        scale = rows.var(0).mean()
        self.exact = bool(left.mean() < EXACT**2 * scale)
        self._variance = left + EXACT**2 * scale

    @property
    def limit(self) -> float:
        """The misfit of a row beyond which its words are wrong, where nothing but rounding changes it."""
        return 0.5 * self._variance.numel()

    def explained(self, arrived: Tensor, ids: Tensor) -> Tensor:
        """Whether each sentence gives all rows that arrived, ``(n,)``."""
        return (self.fits(arrived, ids) > -self.limit).all(1)

    def fits(self, arrived: Tensor, ids: Tensor) -> Tensor:
        """The logarithm of how likely each row is, ``(n, T)``, up to a constant; 0 where there is no token."""
        together = max(1, MOST_VALUES // (ids.shape[1] * self._variance.numel()))
        parts = zip(arrived.flatten(2).split(together), ids.split(together), strict=True)
        return torch.cat([self._misfits(*part) for part in parts]) * ids.ne(PAD)

    def _misfits(self, arrived: Tensor, ids: Tensor) -> Tensor:
        away = arrived - self._bias - self._gain * self.encode(ids)
        return (away.square() / self._variance).sum(2) / -2
