"""Watch list: which of the inputs that the attacker expects was sent?

The attacker holds a list of candidates, the true one among them: pictures of the people who are looked for, pages of
the documents that a camera may see. It needs no reconstruction: it pushes the candidates through the device's own head
and defense, and takes the one whose smashed data is most like what arrived. A defense that makes every reconstruction
useless may still send numbers that only one picture gives.

How the two are compared is chosen on images of the attacker's own: it plays the game among those, and takes the way
that wins most often; `cutlayer.attacks.features.comparisons` has the ways. Where the defense is not random, both are
equal number for number, and nothing has to be learned. A network that is trained to compare (contrastive, two towers)
found fewer than the ways in closed form behind dropout, stochastic rounding and noise before top-k; none is used.

Threat model: the attacker queries the device's head and defense, with its own images and with the candidates. With
`likelihood` it holds the head and knows the law of the noise; where the defense states one, no attacker does better.
Where what arrives tells the length of a sentence, a candidate of another length is impossible.
The figure rests on the list: every candidate is equally likely, and the attacker knows each to the pixel.

The task is that of a gallery and a probe in face recognition (Phillips, Moon, Rizvi, Rauss, "The FERET evaluation
methodology for face-recognition algorithms", PAMI 2000). We know of no paper that plays it on smashed data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from cutlayer.attacks.base import Attack
from cutlayer.attacks.features.comparisons import Comparison, Equal, ways
from cutlayer.attacks.features.stated_law import Law, is_in_rows, log_densities, obeys, own_lengths, stated
from cutlayer.attacks.queries import release, with_held_out
from cutlayer.attacks.tokens.pairs import lengths_seen
from cutlayer.attacks.view import Access, View
from cutlayer.metrics.identification import ranks, shares
from cutlayer.options import Count, Whole
from cutlayer.progress import track

HELD_OUT = 256
"""The attacker's own images among which the ways to compare are tried."""
LEARNING = 512
"""Further images, from whose releases the noise is learned."""
REPEATS = 4
"""Releases of each of them."""
MOST_VALUES = 1 << 25
"""Numbers of releases that are held at a time; bounds the memory, and how many of the attacker's images are used."""
LEAST_QUERIES, MOST_QUERIES, QUERIED_VALUES = 8, 256, 1 << 17
"""Releases of each candidate, and the numbers that they hold together, within the two bounds. With half as many, a
shallow head behind noise (65,536 values) gave away 35 % of 200 inputs in place of 53 %."""
LEAST = 32
"""Images that are used in any case."""


@dataclass(kw_only=True)
class WatchList(Attack):
    """Encode the candidates with the device's own head and defense, and take the one that fits best.

    Args:
        n_releases: Releases of each input that the attacker waits for.
        n_queries: Releases of each candidate, where the defense is random; 0 for 8 to 256, by their size.
        likelihood: Whether the attacker holds the head and uses the law of the noise, where the defense states one.
    """

    plain_words = "sends every picture of a list through the device itself and takes the one that fits best"

    rebuilds = ("image", "table", "tokens")

    n_releases: Count = 1
    n_queries: Whole = 0
    likelihood: bool = False

    @property
    def needs(self) -> Access:
        """Queries; the head and the defense for the likelihood."""
        return Access.WHITE_BOX if self.likelihood else Access.BLACK_BOX

    def fit(self, view: View) -> None:
        """Learn the noise, then choose how to compare on images of the attacker's own."""
        self._view, self._query = view, view.query
        self._way, self._law, self._tells_length = cast(Comparison, Equal()), cast(Law | None, None), False
        law = stated(view) if self.likelihood else None
        if not view.random and law is None:
            return
        n, size = self.n_releases, view.smashed.size
        held_out = min(HELD_OUT, max(LEAST, MOST_VALUES // (n * size)))
        learning = min(LEARNING, max(LEAST, MOST_VALUES // (REPEATS * size)))
        images, n_fit = with_held_out(view, held_out + learning, held_out)
        own, learned_from = images[n_fit:][:held_out], images[: min(n_fit, learning)]
        if law and obeys(law, view, own):
            self._law = law
            return
        if not view.random:
            return
        tried = ways(self._releases(learned_from, REPEATS))
        arrived = self._releases(own, n)
        if is_in_rows(view):
            # A defense may leave nothing of the last row, so that a sentence looks shorter than it is.
            self._tells_length = torch.equal(self._seen(arrived), own_lengths(own).to(arrived.device))
        true = torch.eye(len(own), dtype=torch.bool, device=view.device)
        best = -1.0
        for way, scores in zip(tried, self._scores(tried, arrived, own), strict=True):
            found = ranks(scores, true)
            # The rate decides, and among equal rates how near the others come.
            rate = float(shares(*found, 1).mean() - 1e-6 * (found[0] + 1).log().mean())
            if rate > best:
                self._way, best = way, rate

    def identify(self, releases: Tensor, candidates: Tensor) -> Tensor:
        """``(n_releases, N, *smashed.shape)`` and ``(M, *input.shape)`` -> ``(N, M)``."""
        if self._law is None:
            return self._scores([self._way], releases.flatten(2), candidates)[0]
        return log_densities(self._law, self._view, releases, candidates, MOST_VALUES)

    @property
    def _n_queries(self) -> int:
        """Releases of each candidate: fewer where there are more values, which take as much longer."""
        return self.n_queries or min(MOST_QUERIES, max(LEAST_QUERIES, QUERIED_VALUES // self._view.smashed.size))

    def _scores(self, tried: Sequence[Comparison], releases: Tensor, candidates: Tensor) -> list[Tensor]:
        """The scores ``(N, M)`` of each way; only a part of the candidates' releases is in memory at a time."""
        observed = [way.observe(releases) for way in tried]
        parts: list[list[Tensor]] = [[] for _ in tried]
        n = self._n_queries if self._view.random else 1
        for part in track(
            candidates.split(max(1, MOST_VALUES // (n * self._view.smashed.size))), "encoding candidates"
        ):
            encoded = self._releases(part, n)
            for scores, way, seen in zip(parts, tried, observed, strict=True):
                scores.append(way.score(seen, encoded))
        found = [torch.cat(scores, 1) for scores in parts]
        # A rehearsal ends the loop early; the candidates that are left have no score.
        found = [pad(scores, (0, len(candidates) - scores.shape[1]), value=-torch.inf) for scores in found]
        if not self._tells_length:
            return found
        impossible = self._seen(releases)[:, None] != own_lengths(candidates).to(releases.device)
        return [scores.masked_fill(impossible, -torch.inf) for scores in found]

    def _seen(self, releases: Tensor) -> Tensor:
        """The number of tokens of each sentence in releases ``(n, N, D)``: ``(N,)``."""
        return lengths_seen(releases.unflatten(2, self._view.smashed.shape))

    def _releases(self, images: Tensor, n: int) -> Tensor:
        """Several releases of each image, ``(n, N, D)``."""
        found = torch.empty(n, len(images), self._view.smashed.size, device=self._view.device)
        for k in range(n):
            found[k] = release(self._query, images, self._view.device).flatten(1)
        return found
