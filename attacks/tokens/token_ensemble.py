"""Token ensemble: several readers of one row decide together, and the guess that would have sent what arrived wins.

    P(t | a)  ~  exp( sum_k  b_k s_k(t, a) ),      b = argmin  - sum_i log P(t_i | a_i),   b_k >= 0

with s_k the score that reader k gives the word t. This is a logarithmic opinion pool (C. Genest, J. V. Zidek,
"Combining probability distributions", Statistical Science, 1986), whose weights also calibrate each reader as a
temperature does (C. Guo et al., ICML 2017). They are fitted by cross-entropy to sentences of the attacker that no
reader was fitted to. Half of these judge, in turn, the weights that the other half gives; where the pool reads less
than the best reader, that one answers alone.

Where the pool is not sure of a word, its next guesses are put in its place, the sentence is encoded again by the
device (or with `head` by the head itself), and what fits better weighs as much as proved best on the same sentences:
nothing, where it did not help. It is the counterpart of `stack` and `ensemble`, which combine pictures.

Threat model: that of its parts, and queries with its own guesses while it attacks; with `head` it holds the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cutlayer.attacks.base import fitted, unbiased
from cutlayer.attacks.features.combined import Combined, Description
from cutlayer.attacks.features.white_box import freeze
from cutlayer.attacks.queries import SURE, apart, releases
from cutlayer.attacks.tokens.pairs import present, vocabulary
from cutlayer.attacks.tokens.reading import Reading, in_parts
from cutlayer.attacks.tokens.reencoding import Reencoding, by_head, by_queries
from cutlayer.attacks.view import Access, View
from cutlayer.errors import ConfigError
from cutlayer.options import Count, Whole
from cutlayer.sequences import PAD

JUDGED = 300
"""Sentences to which the weights are fitted, at most."""
DRAWS = 2
"""Releases of each of them where the defense is random."""
LIKELY = 64
"""Words of each place that count while the weights are fitted: those with the greatest sum of scores, and the right."""
PENALTY = 1e-4
"""Weight of the squares of the weights, in nats for each word."""
LEARNING = 256
"""Sentences from which is learned what a defense makes of a row, at most; other ones than those that judge."""
ENCODED = 100
"""Sentences by which the weight of how well a guess fits is chosen, at most."""
UNSURE = 0.99
"""Probability of the likeliest word from which on no other is tried."""
TOGETHER = 512
"""Guesses that are encoded again at a time."""
TRUSTS = (0.0, 0.25, 0.5, 1.0)
"""Weights of how well a sentence fits that are tried; with the first nothing is encoded again."""


@dataclass(kw_only=True)
class TokenEnsemble(Combined, Reading):
    """Pool the scores of several readers, and try their guesses by encoding them again.

    Args:
        attacks: Two readers or more, each a table with its name and its options.
        candidates: Words that are tried at each place of which the pool is not sure; 0 to encode nothing again.
        n_queries: Releases of each guess whose mean is compared, where the defense is random.
        head: Whether guesses are encoded by the head, which the attacker then holds, in place of queries.
    """

    plain_words = "several readers decide on each word together, and what would have sent the same numbers wins"
    rebuilds = ("tokens",)

    attacks: tuple[Description, ...] = (
        {"name": "token-ridge"},
        {"name": "nearest-activation"},
        {"name": "token-decoder"},
    )
    candidates: Whole = 4
    n_queries: Count = 8
    head: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if other := next((part for part in self._parts if not isinstance(part, Reading)), None):
            raise ConfigError(
                "token-ensemble.attacks must name attacks that score all words of a place, such as token-ridge, "
                f"nearest-activation and token-decoder, not {type(other).__name__}; for several releases put averaging "
                'around the ensemble: attack = "token-ensemble".'
            )

    @property
    def needs(self) -> Access:
        """The access that all parts together need, at least queries; the head with `head`."""
        return max(Access.WHITE_BOX if self.head else Access.BLACK_BOX, *(part.needs for part in self._parts))

    def fit(self, view: View) -> None:
        """Fit the readers, then their weights and that of encoding again on sentences that none has learned from."""
        own = apart(view)[1][:JUDGED]
        rehearsed = cast("list[Reading]", [unbiased(part, view) for part in self._made()])
        self._parts = [fitted(part, view) for part in self._parts]
        self._vocabulary, self._device = vocabulary(view), view.device
        arrived = releases(view, own, DRAWS if view.random else 1)
        ids = own.to(view.device).repeat(len(arrived), 1)
        rows, even = arrived.flatten(0, 1), torch.arange(len(own), device=view.device).repeat(len(arrived)) % 2 == 0
        counted = ids.ne(PAD) & ~torch.isin(ids, ids.new_tensor(view.auxiliary.modality.marks))
        self._weigh(rehearsed, rows, ids, counted, even)
        self._again, self._trust = cast(Reencoding | None, None), 0.0
        if self.candidates > 1:
            encode = by_head(freeze(view.head).to(view.device)) if self.head else by_queries(view, self.n_queries)
            others = torch.from_numpy(apart(view)[0].auxiliary.inputs[:LEARNING])
            again = Reencoding(encode, others.to(view.device), releases(view, others, 1)[0])
            self._judge(again, rehearsed, rows[:ENCODED], ids[:ENCODED], counted[:ENCODED])

    def scores(self, smashed: Tensor, at: Tensor) -> Tensor:
        """The logarithm of how likely each word is in the pool, up to a constant; see `Reading.scores`."""
        return self._pooled(cast("list[Reading]", self._parts), smashed, at)

    def invert_releases(self, releases: Tensor) -> Tensor:
        """``(1, N, T, width)`` -> ids ``(N, T)``."""
        return self.invert(releases[0])

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, T, width)`` -> ids ``(N, T)``."""
        arrived = smashed.to(self._device)
        if self._again is None:
            return super().invert(arrived).to(smashed.device)
        words, odds = self._likely(cast("list[Reading]", self._parts), arrived)
        return self._refined(arrived, words, odds, self._tried(self._again, arrived, words, odds)).to(smashed.device)

    def _weigh(self, parts: Sequence[Reading], rows: Tensor, ids: Tensor, counted: Tensor, even: Tensor) -> None:
        """Set the weights: those of the pool, or of the best reader alone where the pool reads less than it."""
        scores, right = self._of_each(parts, rows, ids, counted)
        spread = scores.std(1).mean(0)
        self._scale = torch.where(spread > 0, 1 / spread, 1.0)
        scores, first = scores * self._scale, even.repeat_interleave(counted.sum(1))
        hits = (scores.argmax(1) == right[:, None]).sum(0)
        best = int(hits.argmax())
        self._weights = torch.nn.functional.one_hot(torch.tensor(best), len(parts)).to(scores)
        if first.all() or not first.any():
            return
        pooled = sum(
            int(((scores[~part] @ pool(scores[part], right[part])).argmax(1) == right[~part]).sum())
            for part in (first, ~first)
        )
        if pooled >= int(hits[best]):
            self._weights = pool(scores, right)
        else:
            self._weights *= pool(scores[..., best : best + 1], right)

    def _of_each(self, parts: Sequence[Reading], rows: Tensor, ids: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """The scores of the likely words of M places by each of K readers, ``(M, words, K)``, and the right one's."""
        at, found, places = ids.ne(PAD), [], []
        for here in in_parts(at, self._vocabulary * len(parts)):
            counts = counted[here][at[here]]
            scores = torch.stack([finite(part.scores(rows[here], at[here])[counts]) for part in parts], 2)
            standard = (scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True).clamp(min=1e-12)
            total = standard.sum(2)
            total[:, PAD] = -torch.inf
            likely = total.topk(min(LIKELY, self._vocabulary - 1), 1).indices
            true = ids[here][counted[here]]
            missed = (likely != true[:, None]).all(1)
            likely[missed, -1] = true[missed]
            found.append(scores.gather(1, likely[..., None].expand(-1, -1, len(parts))))
            places.append((likely == true[:, None]).int().argmax(1))
        return torch.cat(found), torch.cat(places)

    def _pooled(self, parts: Sequence[Reading], smashed: Tensor, at: Tensor) -> Tensor:
        total = torch.zeros(int(at.sum()), self._vocabulary, device=smashed.device)
        for part, weight in zip(parts, (self._weights * self._scale).tolist(), strict=True):
            if weight:
                scores = finite(part.scores(smashed, at))
                total += weight * (scores - scores.amax(1, keepdim=True))
        return total

    def _likely(self, parts: Sequence[Reading], arrived: Tensor) -> tuple[Tensor, Tensor]:
        """The words to try at each place, the likeliest first, and their log-probabilities: ``(N, T, candidates)``."""
        at, n = present(arrived), min(self.candidates, self._vocabulary - 1)
        words = torch.full((*at.shape, n), PAD, device=arrived.device)
        odds = torch.zeros(*at.shape, n, device=arrived.device)
        for here in in_parts(at, self._vocabulary):
            scored = self._pooled(parts, arrived[here], at[here])
            scored[:, PAD] = -torch.inf
            best = scored.log_softmax(1).topk(n)
            words[here][at[here]], odds[here][at[here]] = best.indices, best.values
        return words, odds

    def _tried(self, again: Reencoding, arrived: Tensor, words: Tensor, odds: Tensor) -> Tensor:
        """How much better or worse a sentence fits with each of the words in place of the first: ``(N, T, k)``."""
        changes = torch.zeros_like(odds)
        unsure = (words[..., 0] != PAD) & (odds[..., 0].exp() < UNSURE)
        whole, place = unsure.nonzero().T
        if not len(whole):
            return changes
        guess = words[..., 0]
        touched = whole.unique()
        before = torch.zeros(len(guess), device=arrived.device)
        before[touched] = again.fits(arrived[touched], guess[touched]).sum(1)
        for k in range(1, words.shape[2]):
            for i, at in zip(whole.split(TOGETHER), place.split(TOGETHER), strict=True):
                other = guess[i].clone()
                other[torch.arange(len(i)), at] = words[i, at, k]
                changes[i, at, k] = again.fits(arrived[i], other).sum(1) - before[i]
        return changes

    def _refined(
        self, arrived: Tensor, words: Tensor, odds: Tensor, changes: Tensor, trust: float | None = None
    ) -> Tensor:
        """The likeliest words, once how well they fit counts as well; all changes of a sentence, or none."""
        trust, again = self._trust if trust is None else trust, self._again
        assert again is not None
        chosen = (odds + trust * changes).argmax(2, keepdim=True)
        guess, other = words[..., 0], words.gather(2, chosen)[..., 0]
        changed = (guess != other).any(1).nonzero()[:, 0]
        if len(changed):
            gain = (odds.gather(2, chosen)[..., 0] - odds[..., 0]).sum(1)[changed]
            rows = arrived[changed]
            gain += trust * (again.fits(rows, other[changed]) - again.fits(rows, guess[changed])).sum(1)
            kept = changed[gain <= 0]
            other[kept] = guess[kept]
        return other

    def _judge(self, again: Reencoding, parts: Sequence[Reading], rows: Tensor, ids: Tensor, counted: Tensor) -> None:
        """Choose how much it counts whether a guess fits; nothing is encoded again where that reads no more."""
        self._again = again
        words, odds = self._likely(parts, rows)
        changes = self._tried(again, rows, words, odds)
        right = [(self._refined(rows, words, odds, changes, trust) == ids)[counted] for trust in TRUSTS]
        gains = [one.int() - right[0].int() for one in right]
        best = max(range(len(TRUSTS)), key=lambda at: int(gains[at].sum()))
        # The standard deviation of as many words that are right or wrong by chance.
        sure = int(gains[best].sum()) > SURE * float(gains[best].abs().sum()) ** 0.5
        self._again, self._trust = (again, TRUSTS[best]) if sure else (None, 0.0)


def finite(scores: Tensor) -> Tensor:
    """The scores with the least finite one of each row in place of minus infinity."""
    infinite = scores.isneginf()
    least = scores.masked_fill(infinite, torch.inf).amin(1, keepdim=True)
    return torch.where(infinite, least, scores)


def pool(scores: Tensor, right: Tensor) -> Tensor:
    """The weights of K readers ``(K,)``, at least 0, from their scores ``(M, words, K)`` and the place of the right."""
    logs = torch.zeros(scores.shape[2], dtype=torch.float64, device=scores.device, requires_grad=True)
    wide = scores.double()
    optimizer = torch.optim.LBFGS([logs], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        weights = logs.exp()
        value = cross_entropy(wide @ weights, right) + PENALTY * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return logs.detach().exp().to(scores)
