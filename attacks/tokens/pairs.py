"""What an attacker on sentences learns from: tokens of its own, each with the row that arrived for it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cutlayer.attacks.queries import release, with_held_out
from cutlayer.attacks.view import View
from cutlayer.sequences import PAD

HELD_OUT = 0.1
"""Share of the sentences by which settings are chosen."""


class Pairs(NamedTuple):
    """The tokens of the attacker's own sentences, one after the other, and what arrived for each.

    Attributes:
        rows: ``(M, width)``, what arrived.
        ids: ``(M,)``, the tokens.
        places: ``(M,)``, the place of each in its sentence, from 0.
        n_fit: The rows from this one on are of sentences that are held out.
    """

    rows: Tensor
    ids: Tensor
    places: Tensor
    n_fit: int


def pairs(view: View, limit: int = 0) -> Pairs:
    """Query with the attacker's own sentences.

    Args:
        view: View whose sentences are used.
        limit: Number of sentences at most; 0 for all.
    """
    ids, n_fit = with_held_out(view, limit, HELD_OUT)
    smashed, ids = release(view.query, ids, view.device), ids.to(view.device)
    at = ids.ne(PAD)
    return Pairs(smashed[at].flatten(1), ids[at], places(at), int(at[:n_fit].sum()))


def present(smashed: Tensor) -> Tensor:
    """Which places hold a token, ``(N, T, ...)`` to ``(N, T)``: what arrives is zero behind the end of a sentence."""
    some = smashed.flatten(2).ne(0).any(2)
    # A row of zeros before the end is a token too; a defense may leave nothing of it.
    return some.flip(1).cummax(1).values.flip(1)


def lengths_seen(releases: Tensor) -> Tensor:
    """The number of tokens of each sentence, as releases of it show it: ``(n_releases, N, T, width)`` to ``(N,)``."""
    return torch.stack([present(release).sum(1) for release in releases]).amax(0)


def places(at: Tensor) -> Tensor:
    """The place of each token that there is, from 0: ``(N, T)`` to ``(M,)``."""
    return at.nonzero()[:, 1]


def vocabulary(view: View) -> int:
    """The number of ids, `PAD` among them."""
    return int(view.input.high or 0) + 1


def counts(view: View, ids: Tensor) -> Tensor:
    """How often each token occurs, ``(vocabulary,)``."""
    return torch.bincount(ids, minlength=vocabulary(view))
