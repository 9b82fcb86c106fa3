"""Token decoder: a network that corrects the nearest activation, each place by itself or all of a sentence together.

    t = argmax_t  s <W a + g(a), u_t> + b_t          trained by the cross-entropy of the attacker's own sentences

with W, u and b those of `cutlayer.attacks.tokens.nearest_activation`, which the network starts from, and g a residual
part that begins at zero: two linear layers for each place, or with `sequence` two blocks of a transformer over all
rows, so that a word is also read from its neighbors. Classifiers of each place and of a sequence are what C. Song and
A. Raghunathan train on one vector of a whole text ("Information leakage in embedding models", CCS 2020, section 4.2);
ours have a row for each token. The epoch is the best one on sentences that nothing has learned from, and the one before
the first is among them, so that on these it is never worse than its start.

Threat model: that of `nearest-activation`, whose options it takes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cutlayer.attacks.base import fitted
from cutlayer.attacks.queries import apart, release
from cutlayer.attacks.tokens.nearest_activation import NearestActivation
from cutlayer.attacks.tokens.pairs import vocabulary
from cutlayer.attacks.tokens.reading import Reading
from cutlayer.attacks.tokens.words import ASKED, access, check
from cutlayer.attacks.view import Access, View
from cutlayer.errors import ConfigError
from cutlayer.models.text_transformer import Block
from cutlayer.options import Batch, Count, LearningRate, Size, Whole
from cutlayer.progress import note, track
from cutlayer.sequences import PAD

HEADS = 4
BLOCKS = 2
"""Blocks of the network that sees a sentence."""


@dataclass(kw_only=True)
class TokenDecoder(Reading):
    """Train a network on what arrives for the attacker's own sentences.

    Args:
        sequence: Whether the network sees the whole sentence, or each place by itself.
        words: The vector that stands for a token, see `nearest-activation`.
        epochs: Passes over the attacker's sentences, with fresh noise in each where the defense is random.
        width: Hidden numbers of a token; with `sequence` a multiple of 4.
        lr: Adam's learning rate at its highest.
        batch: Sentences in a step.
        n_auxiliary: Sentences used; 0 for all that the attacker has.
    """

    plain_words = "a network that names each word from what was sent, trained on the attacker's own sentences"
    steps_option = "epochs"
    least_steps = 2

    sequence: bool = False
    words: str = ASKED
    epochs: Count = 8
    width: Size = 256
    lr: LearningRate = 1e-3
    batch: Batch = 64
    n_auxiliary: Whole = 0

    def __post_init__(self) -> None:
        check("token-decoder", self.words)
        if self.sequence and self.width % HEADS:
            raise ConfigError(f"token-decoder.width must be a multiple of {HEADS} with sequence, not {self.width}.")

    @property
    def needs(self) -> Access:
        """Queries; the head for its own word vectors."""
        return access(self.words)

    @property
    def keeps_apart(self) -> bool:
        """Yes: nothing learns from the sentences by which the epoch is chosen."""
        return True

    def fit(self, view: View) -> None:
        """Fit the start, and train the network."""
        self._vocabulary = vocabulary(view)
        rest, held_out = apart(view)
        start = NearestActivation(words=self.words, n_auxiliary=self.n_auxiliary)
        self._start = cast(NearestActivation, fitted(start, rest))
        generator = torch.Generator().manual_seed(view.seed)
        ids = torch.from_numpy(rest.auxiliary.inputs[: self.n_auxiliary or None]).to(view.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(view.seed)
            make = _InSentence if self.sequence else _AtPlace
            self._network = make(self._start.model.whiten.shape[0], self.width, ids.shape[1]).to(view.device)
        judged = held_out.to(view.device)
        arrived = release(view.query, judged, view.device)
        # The words that occur: no other can be the right answer of a step.
        occurring = torch.unique(ids)
        most, best = self._hits(arrived, judged), copy.deepcopy(self._network.state_dict())
        steps = -(-len(ids) // self.batch)
        optimizer = torch.optim.AdamW(self._network.parameters(), self.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=self.epochs * steps)
        smashed: Tensor | None = None
        for _ in track(range(self.epochs), "training the decoder of tokens"):
            if smashed is None or view.random:
                smashed = release(view.query, ids, view.device)
            for rows in torch.randperm(len(ids), generator=generator).to(view.device).chunk(steps):
                self._step(smashed[rows], ids[rows], occurring, optimizer)
                schedule.step()
            hits = self._hits(arrived, judged)
            note(f"right on held-out sentences {hits / int(judged.ne(PAD).sum()):.1%}")
            if hits > most:
                most, best = hits, copy.deepcopy(self._network.state_dict())
        self._network.load_state_dict(best)
        self._network.eval()

    def scores(self, smashed: Tensor, at: Tensor) -> Tensor:
        """The logits of each token; see `Reading.scores`."""
        with torch.no_grad():
            return self._start.model.scores(self._corrected(smashed, at))

    def _step(self, smashed: Tensor, ids: Tensor, occurring: Tensor, optimizer: torch.optim.Optimizer) -> None:
        at, words = ids.ne(PAD), self._start.model
        known = words._replace(centers=words.centers[occurring], prior=words.prior[occurring])
        logits = known.scores(self._corrected(smashed, at)) * self._network.sharpness
        loss = cross_entropy(logits, torch.searchsorted(occurring, ids[at]))
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()

    def _corrected(self, smashed: Tensor, at: Tensor) -> Tensor:
        """The whitened rows, moved by the network: ``(M, width)``."""
        rows = self._start.whitened(smashed, at)
        away: Tensor = self._network(rows, at)
        return rows + away

    def _hits(self, smashed: Tensor, ids: Tensor) -> int:
        self._network.eval()
        hits = int((self.invert(smashed) == ids)[ids.ne(PAD)].sum())
        self._network.train()
        return hits


class _AtPlace(nn.Module):
    """Rows ``(M, width)`` to what is added to them, by each alone."""

    def __init__(self, width: int, hidden: int, length: int) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.ones(()))
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        _silence(self.layers[-1])

    def forward(self, rows: Tensor, at: Tensor) -> Tensor:
        """Map rows to rows."""
        away: Tensor = self.layers(rows)
        return away


class _InSentence(nn.Module):
    """Rows ``(M, width)`` of the places of sentences to what is added to them, by all of a sentence."""

    def __init__(self, width: int, hidden: int, length: int) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.ones(()))
        self.norm, self.enter, self.place = nn.LayerNorm(width), nn.Linear(width, hidden), nn.Embedding(length, hidden)
        self.blocks = nn.Sequential(*[Block(hidden, HEADS) for _ in range(BLOCKS)])
        self.leave = nn.Linear(hidden, width)
        _silence(self.leave)

    def forward(self, rows: Tensor, at: Tensor) -> Tensor:
        """Map rows to rows; `at`, ``(N, T)``, says where each stands."""
        hidden = self.enter(self.norm(rows)) + self.place(at.nonzero()[:, 1])
        whole = hidden.new_zeros(*at.shape, hidden.shape[1])
        whole[at] = hidden
        away: Tensor = self.leave(self.blocks(whole)[at])
        return away


def _silence(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
