"""Causal search: try words in their places until the head gives what arrived.

    x = argmax_x  sum_i  log N(a_i; bias + gain head(x)_i, variance)  +  sum_i log P(x_i)

An attacker that holds the head computes what each guess would have sent. Where each row depends on the words up to its
own place alone, as in a decoder, the places are settled one after the other, and the result is exact where no defense
changes the rows: the only word that gives the row is the one that was sent. (DAGER, I. Petrov et al., NeurIPS 2024,
recovers decoders from gradients so; here the rows themselves are seen.) In an encoder each row depends on all words, so
that the places are tried over and over, each against the present guess of the others.

The search begins with the words that `cutlayer.attacks.tokens.nearest_activation` finds likely, and tries those of
each place. Where in a decoder none of them gives the row, all words are tried. Gain, bias and variance of what a
defense makes of a row are learned from the attacker's own sentences; the frequency of a word matters under noise alone.

Threat model: white-box, with queries for the attacker's own sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from cutlayer.attacks.base import Attack, fitted
from cutlayer.attacks.features.white_box import freeze
from cutlayer.attacks.queries import release, with_held_out
from cutlayer.attacks.tokens.nearest_activation import NearestActivation
from cutlayer.attacks.tokens.pairs import present, vocabulary
from cutlayer.attacks.tokens.reencoding import MOST_TOKENS, Reencoding, by_head
from cutlayer.attacks.tokens.words import MODEL, check
from cutlayer.attacks.view import Access, View
from cutlayer.options import Count, Whole
from cutlayer.progress import track
from cutlayer.sequences import PAD

LEARNING = 256
"""The attacker's own sentences, from which the defense's part is learned."""
TOGETHER = 64
"""Sentences that are searched together."""
MOST_WORDS = 1 << 17
"""Words of a vocabulary that is tried as a whole, at most."""


@dataclass(kw_only=True)
class CausalSearch(Attack):
    """Search for the words of each place with the head itself.

    Args:
        candidates: Words that are tried at each place.
        sweeps: Passes over the places, at most; it ends when nothing changes.
        words: The vector that stands for a token at the start, see `nearest-activation`.
        n_auxiliary: Sentences for the start; 0 for all that the attacker has.
    """

    plain_words = "tries likely words in each place until the device's own half of the model gives what was sent"
    rebuilds = ("tokens",)
    needs = Access.WHITE_BOX
    steps_option = "sweeps"

    candidates: Count = 8
    sweeps: Count = 3
    words: str = MODEL
    n_auxiliary: Whole = 0

    def __post_init__(self) -> None:
        check("causal-search", self.words)
        self._start = NearestActivation(words=self.words, n_auxiliary=self.n_auxiliary)

    @property
    def contained(self) -> tuple[Attack, ...]:
        """The attack whose guesses are tried."""
        return (self._start,)

    def fit(self, view: View) -> None:
        """Fit the start, and learn what the defense makes of the head's rows."""
        self._start = cast(NearestActivation, fitted(self._start, view))
        self._vocabulary, self._device = vocabulary(view), view.device
        ids = with_held_out(view, LEARNING, 1)[0].to(view.device)
        head = freeze(view.head).to(view.device)
        self._again, at = Reencoding(by_head(head), ids, release(view.query, ids, view.device)), ids.ne(PAD)
        counts = torch.bincount(ids[at], minlength=self._vocabulary) + 1.0
        self._prior = (counts / counts.sum()).log()
        self._causal = self._is_causal(ids)

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, T, width)`` -> ids ``(N, T)``."""
        arrived = smashed.to(self._device)
        ranked = self._start.ranked(arrived, min(self.candidates, self._vocabulary - 1))
        found = [
            self._searched(a, r)
            for a, r in track(list(zip(arrived.split(TOGETHER), ranked.split(TOGETHER), strict=True)), "trying words")
        ]
        # A rehearsal ends the loop early; the start answers for the rest.
        return torch.cat([*found, ranked[sum(map(len, found)) :, :, 0]]).to(smashed.device)

    def _searched(self, arrived: Tensor, ranked: Tensor) -> Tensor:
        """The words that fit best, from ``(n, T, width)`` and the words to try ``(n, T, k)``."""
        at, guess = present(arrived), ranked[..., 0].clone()
        for _ in range(self.sweeps):
            before = guess.clone()
            for place in range(int(at.sum(1).max())):
                open_ = at[:, place] & ~self._again.explained(arrived, guess) if self._again.exact else at[:, place]
                rows = open_.nonzero()[:, 0]
                if len(rows):
                    guess[rows, place] = self._best(arrived[rows], guess[rows], ranked[rows, place], place)
            if torch.equal(before, guess):
                break
        if self._causal and self._again.exact and self._vocabulary <= MOST_WORDS:
            for i in (~self._again.explained(arrived, guess)).nonzero()[:, 0].tolist():
                guess[i] = self._all_words(arrived[i], guess[i], ranked[i])
        return guess

    def _best(self, arrived: Tensor, guess: Tensor, tried: Tensor, place: int) -> Tensor:
        """Return for each of r sentences the best of the words ``(r, k)`` at a place: ``(r,)``."""
        k = tried.shape[1]
        whole = guess.repeat_interleave(k, 0)
        whole[:, place] = tried.flatten()
        fits = self._again.fits(arrived.repeat_interleave(k, 0), whole).sum(1).view(-1, k) + self._prior[tried]
        return tried.gather(1, fits.argmax(1, keepdim=True))[:, 0]

    def _all_words(self, arrived: Tensor, guess: Tensor, ranked: Tensor) -> Tensor:
        """The words of one sentence of a decoder, place by place, each of which the row of its place settles."""
        guess, words = guess.clone(), torch.arange(1, self._vocabulary, device=guess.device)
        for place in range(int(guess.ne(PAD).sum())):
            beginning = slice(0, place + 1)
            for tried in (guess[place : place + 1], ranked[place], words):
                whole = guess[beginning].repeat(len(tried), 1)
                whole[:, place] = tried
                fits = torch.cat([
                    self._again.fits(arrived[None, beginning].expand(len(part), -1, -1), part)[:, place]
                    for part in whole.split(max(1, MOST_TOKENS // (place + 1)))
                ])  # fmt: skip
                guess[place] = tried[fits.argmax()]
                if bool(fits.max() > -self._again.limit):
                    break
        return guess

    def _is_causal(self, ids: Tensor) -> bool:
        """Whether a change of the last word leaves the rows before it as they are."""
        longest = ids[ids.ne(PAD).sum(1).argmax()][None]
        last = int(longest.ne(PAD).sum()) - 1
        if last < 1:
            return False
        changed = longest.clone()
        changed[0, last] = longest[0, last] % (self._vocabulary - 1) + 1
        rows, others = self._again.encode(longest)[:, :last], self._again.encode(changed)[:, :last]
        return bool((rows - others).abs().max() <= 1e-5 * rows.abs().max())
