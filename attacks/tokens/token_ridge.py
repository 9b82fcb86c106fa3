"""Token ridge: a linear map from each row of the smashed data to the word embedding behind it, and the nearest token.

    W = argmin  sum_i ||e(t_i) - W a_i||^2  +  penalty ||W||^2,      t = the token whose e(t) is nearest to W a

with a the smashed row of a token and e a vector of each token, whose mean is subtracted. Nearest is by distance or by
angle: a penalty, and noise, leave W a shorter than e, so that the angle often finds more; which one is chosen on the
attacker's own sentences. We know of no paper for this form; that of J. Morris et al., EMNLP 2023,
https://arxiv.org/abs/2310.06816, inverts one vector of a whole text.

Threat model: the attacker queries the device's head and defense with sentences of its own. With `words` set to model it
also holds the word embeddings of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.features.ridge import solve
from cutlayer.attacks.tokens.pairs import counts, pairs, vocabulary
from cutlayer.attacks.tokens.reading import Reading
from cutlayer.attacks.tokens.words import ASKED, NONE, access, check, vectors
from cutlayer.attacks.view import Access, View
from cutlayer.options import Whole

JUDGED = 1000
"""Held-out tokens by which nearest is chosen, at most."""


@dataclass(kw_only=True)
class TokenRidge(Reading):
    """Fit one linear map for all places, and take the token whose vector is nearest.

    Args:
        words: The vector that stands for a token: ``model``, the head's own, which needs the head; ``asked``, what
            arrives for the token alone; ``none``, a random one.
        n_auxiliary: Sentences used; 0 for all that the attacker has.
    """

    plain_words = (
        "a linear formula from what was sent for each word to the word, fitted on the attacker's own sentences"
    )

    words: str = ASKED
    n_auxiliary: Whole = 0

    def __post_init__(self) -> None:
        check("token-ridge", self.words)

    @property
    def needs(self) -> Access:
        """Queries; the head for its own word vectors."""
        return access(self.words)

    def fit(self, view: View) -> None:
        """Query with the attacker's sentences, solve, and choose how to compare."""
        own, known = pairs(view, self.n_auxiliary), vectors(self.words, view)
        self._vocabulary, n_fit = vocabulary(view), own.n_fit
        self._center, spread = own.rows.mean(0), own.rows.std(0)
        self._scale = torch.where(spread > 1e-6 * spread.max(), 1 / spread, 0.0)
        wanted = known[own.ids]
        rows, away = (own.rows - self._center) * self._scale, wanted - wanted.mean(0)
        self._weights, _ = solve(rows[:n_fit], away[:n_fit], int(0.9 * n_fit))
        self._known = known - wanted.mean(0)
        if self.words == NONE:
            # A token that the attacker has never seen has no place in the map.
            self._known[counts(view, own.ids) == 0] = torch.nan
        judged = slice(n_fit, n_fit + JUDGED)
        self._by_angle = False
        right = [self._hits(rows[judged], own.ids[judged], by_angle) for by_angle in (False, True)]
        self._by_angle = right[1] > right[0]
        self._weights, _ = solve(rows, away, n_fit)

    def scores(self, smashed: Tensor, at: Tensor) -> Tensor:
        """The nearness of each token's vector; see `Reading.scores`."""
        rows = (smashed[at].flatten(1) - self._center) * self._scale
        return self._nearness(rows, self._by_angle)

    def _hits(self, rows: Tensor, ids: Tensor, by_angle: bool) -> int:
        return int((self._nearness(rows, by_angle).argmax(1) == ids).sum())

    def _nearness(self, rows: Tensor, by_angle: bool) -> Tensor:
        known = torch.nn.functional.normalize(self._known) if by_angle else self._known
        scores = rows @ self._weights @ known.T
        scores = scores if by_angle else scores - known.square().sum(1) / 2
        return scores.nan_to_num(-torch.inf, neginf=-torch.inf)
