"""Token ridge: a linear map from each row of the smashed data to the word embedding behind it, and the nearest token.

    W = argmin  sum_i ||e(t_i) - W a_i||^2  +  penalty ||W||^2,      t = argmin_t ||W a - e(t)||

with a the smashed row of a token and e its embedding, whose mean is subtracted. Where the attacker does not hold the
embeddings, e is a random vector of length 1 for each token, which keeps them apart as well. We know of no paper for
this form; that of J. Morris et al., EMNLP 2023, https://arxiv.org/abs/2310.06816, inverts one vector of a whole text.

Threat model: the attacker queries the device's head and defense with sentences of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.attacks.features.ridge import solve
from cutlayer.attacks.queries import release, with_held_out
from cutlayer.attacks.view import Access, View
from cutlayer.options import Size, Whole
from cutlayer.sequences import PAD

HELD_OUT = 0.1
CHUNK = 4096
"""Rows that are compared with all tokens at a time."""


@dataclass(kw_only=True)
class TokenRidge(Attack):
    """Fit one linear map for all places, and take the token whose vector is nearest.

    Args:
        n_auxiliary: Sentences used; 0 for all that the attacker has.
        width: Numbers of the vector that stands for a token.
    """

    plain_words = (
        "a linear formula from what was sent for each word to the word, fitted on the attacker's own sentences"
    )
    rebuilds = ("tokens",)
    needs = Access.BLACK_BOX

    n_auxiliary: Whole = 0
    width: Size = 384

    def fit(self, view: View) -> None:
        """Query with the attacker's sentences, and solve."""
        ids, n_fit = with_held_out(view, self.n_auxiliary, HELD_OUT)
        smashed = release(view.query, ids, view.device)
        generator = torch.Generator().manual_seed(view.seed)
        vectors = torch.randn(int(view.input.high or 0) + 1, self.width, generator=generator)
        self._vectors = torch.nn.functional.normalize(vectors).to(view.device)
        at = ids.ne(PAD).to(view.device)
        rows, words = smashed[at].flatten(1), self._vectors[ids.to(view.device)[at]]
        self._center, spread = rows.mean(0), rows.std(0)
        self._scale = torch.where(spread > 1e-6 * spread.max(), 1 / spread, 0.0)
        self._mean = words.mean(0)
        self._weights, _ = solve((rows - self._center) * self._scale, words - self._mean, int(at[:n_fit].sum()))
        # A token that the attacker has never seen has no place in the map.
        self._seen = torch.zeros(len(vectors), dtype=torch.bool, device=view.device)
        self._seen[ids.to(view.device)[at]] = True

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, T, width)`` -> ids ``(N, T)``."""
        at = smashed.ne(0).any(2)
        rows = (smashed[at].flatten(1) - self._center) * self._scale
        guessed = self._mean + rows @ self._weights
        ids = torch.full(smashed.shape[:2], PAD, device=smashed.device)
        ids[at] = torch.cat([self._nearest(part) for part in guessed.split(CHUNK)])
        return ids

    def _nearest(self, vectors: Tensor) -> Tensor:
        distances = torch.cdist(vectors, self._vectors)
        return distances.masked_fill(~self._seen, torch.inf).argmin(1)
