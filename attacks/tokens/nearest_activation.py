"""Nearest activation: what would arrive for each token at this place, and the token for which that is nearest.

    a = c + B e(t) + p(place) + d(t) + r,      t = argmin_t (a - E[a | t])' S^-1 (a - E[a | t]) - 2 w log P(t)

B and the effect p of each place are a ridge regression from word vectors and places to smashed data; d is what is left
of the attacker's own tokens of that word, shrunk by their number; S is the covariance of what none of these explain:
the words around it, and a defense's noise. With d alone this is linear discriminant analysis (R. A. Fisher, "The use
of multiple measurements in taxonomic problems", 1936) with as many classes as words. The shrinkage and the weight w of
how frequent a word is are chosen on held-out sentences.

Threat model: the attacker queries the device's head and defense with sentences of its own, and with each word by itself
(`words` set to asked); with model it holds the word embeddings of the head; with none it has its own sentences alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cutlayer.attacks.features.ridge import solve
from cutlayer.attacks.tokens.pairs import Pairs, counts, pairs, places, vocabulary
from cutlayer.attacks.tokens.reading import Reading
from cutlayer.attacks.tokens.words import ASKED, NONE, access, check, vectors
from cutlayer.attacks.view import Access, View
from cutlayer.options import Whole

SHRINKAGES = (torch.inf, 16.0, 1.0)
"""Tokens of a word that weigh as much as the regression does; with the first, the regression is all."""
PRIORS = (0.0, 1.0)
"""Weights of how frequent a word is."""
RARE = 0.05
"""Occurrences of a word that the attacker has not seen."""
LEAST_VARIANCE = 1e-4
"""Share of the mean variance that is added to each, so that a direction without noise is no proof."""
JUDGED = 600
"""Held-out tokens by which is chosen, at most."""


class Words(NamedTuple):
    """Where the tokens lie, in coordinates in which what is unexplained has the variance 1.

    Attributes:
        whiten: ``(width, width)``.
        centers: ``(vocabulary, width)``.
        prior: ``(vocabulary,)``, added to the scores.
    """

    whiten: Tensor
    centers: Tensor
    prior: Tensor

    def scores(self, rows: Tensor) -> Tensor:
        """Whitened rows ``(M, width)`` to ``(M, vocabulary)``."""
        return torch.addmm(self.prior - self.centers.square().sum(1) / 2, rows, self.centers.T)


@dataclass(kw_only=True)
class NearestActivation(Reading):
    """Learn what arrives for each word, and take the word that is nearest to what did.

    Args:
        words: The vector that stands for a token: ``model``, the head's own, which needs the head; ``asked``, what
            arrives for the token alone; ``none``, nothing but the attacker's own sentences.
        n_auxiliary: Sentences used; 0 for all that the attacker has.
    """

    plain_words = "learns what is sent for each word, and names the word that would have sent the most similar numbers"

    words: str = ASKED
    n_auxiliary: Whole = 0

    def __post_init__(self) -> None:
        check("nearest-activation", self.words)

    @property
    def needs(self) -> Access:
        """Queries; the head for its own word vectors."""
        return access(self.words)

    def fit(self, view: View) -> None:
        """Query, regress, and choose how far to trust single words and their frequency."""
        own = pairs(view, self.n_auxiliary)
        self._vocabulary, self._length = vocabulary(view), view.input.shape[0]
        known = None if self.words == NONE else vectors(self.words, view)
        n_fit = own.n_fit
        judged = slice(n_fit, n_fit + JUDGED)
        best, chosen = -1, (SHRINKAGES[-1], PRIORS[0])
        for shrinkage in SHRINKAGES if known is not None else SHRINKAGES[1:]:
            for prior in PRIORS:
                model = self._model(view, _first(own, n_fit), known, shrinkage, prior)
                away = own.rows[judged] - self._center - self._of_place[own.places[judged]]
                hits = int((model.scores(away @ model.whiten).argmax(1) == own.ids[judged]).sum())
                if hits > best:
                    best, chosen = hits, (shrinkage, prior)
        self._fitted = self._model(view, own, known, *chosen)

    def scores(self, smashed: Tensor, at: Tensor) -> Tensor:
        """The logarithm of how likely each token is, up to a constant; see `Reading.scores`."""
        return self.model.scores(self.whitened(smashed, at))

    def whitened(self, smashed: Tensor, at: Tensor) -> Tensor:
        """The rows of these places without what the places do, in the coordinates of the model: ``(M, width)``."""
        return (smashed[at].flatten(1) - self._center - self._of_place[places(at)]) @ self.model.whiten

    @property
    def model(self) -> Words:
        """Where the tokens lie; `fit` learns it."""
        return self._fitted

    def _model(self, view: View, own: Pairs, known: Tensor | None, shrinkage: float, prior: float) -> Words:
        """The model of these pairs; sets the mean row, and the effect of the places."""
        self._center, width = own.rows.mean(0), own.rows.shape[1]
        where = torch.nn.functional.one_hot(own.places, self._length).to(own.rows)
        causes = where if known is None else torch.cat([known[own.ids], where], 1)
        mean, spread = causes.mean(0), causes.std(0)
        scale = torch.where(spread > 1e-6 * spread.max(), 1 / spread, 0.0)
        weights, _ = solve((causes - mean) * scale, own.rows - self._center, int(0.9 * len(own.ids)))
        weights = weights * scale[:, None]
        n = causes.shape[1] - self._length
        self._of_place = weights[n:] - mean[n:] @ weights[n:]
        centers = own.rows.new_zeros(self._vocabulary, width) if known is None else (known - mean[:n]) @ weights[:n]
        left = own.rows - self._center - self._of_place[own.places] - centers[own.ids]
        seen = counts(view, own.ids)
        sums = torch.zeros_like(centers).index_add_(0, own.ids, left)
        centers = centers + sums / (seen + shrinkage)[:, None]
        # What is unexplained of a token, judged without that token itself.
        left = left - (sums[own.ids] - left) / (seen[own.ids] - 1 + shrinkage)[:, None]
        covariance = left.T @ left / len(left)
        covariance.diagonal().add_(LEAST_VARIANCE * covariance.diagonal().mean() + 1e-12)
        whiten = torch.linalg.inv(torch.linalg.cholesky(covariance)).T
        often = (seen + RARE).to(own.rows)
        weight = prior * (often / often.sum()).log()
        if known is None:
            weight = weight.masked_fill(seen == 0, -torch.inf)
        return Words(whiten, centers @ whiten, weight)


def _first(own: Pairs, n: int) -> Pairs:
    return Pairs(own.rows[:n], own.ids[:n], own.places[:n], n)
