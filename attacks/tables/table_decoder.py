"""Table decoder: a network from smashed data to the words and numbers of a row, one answer for each column.

    g* = argmin  sum_i sum_c  CE(g_c(wire(x_i)), x_ic)   or   |g_c(wire(x_i)) - x_ic| / s_c

with cross-entropy for a column of words, and the absolute error in standard deviations s for one of numbers, whose
least is the median. It begins at the ridge solution (`cutlayer.attacks.features.ridge`), beside which the network
learns what is not linear. What is rebuilt of a word are shares of what it may be: the greatest is the guess, and the
rest says how sure it is. We know of no paper for this form; decoders of pictures are those of He et al., ACSAC 2019.

Threat model: the attacker queries the device's head and defense with rows of its own.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutlayer.attacks.base import Attack, fitted
from cutlayer.attacks.features.ridge import Ridge
from cutlayer.attacks.queries import apart, auxiliary_images, release
from cutlayer.attacks.tables.columns import Encoding, columns_of
from cutlayer.attacks.view import Access, View
from cutlayer.options import Batch, Count, LearningRate, Size
from cutlayer.progress import note, track

CHUNK = 4096
"""Rows decoded at a time; bounds the memory."""


class _Network(nn.Module):
    """Free numbers of `Encoding` from smashed data: those of a linear guess, and what a network adds."""

    def __init__(self, smashed: Tensor, encoding: Encoding, linear: Ridge, n: int, width: int) -> None:
        super().__init__()
        self._encoding, self._linear = encoding, linear
        self.center, self.scale = nn.Buffer(smashed.mean(0)), nn.Buffer(1 / smashed.std(0).clamp(min=1e-6))
        self.layers = nn.Sequential(
            nn.Linear(smashed.shape[1] + n, width), nn.GELU(),
            nn.Linear(width, width), nn.GELU(),
            nn.Linear(width, n),
        )  # fmt: skip
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def guess(self, smashed: Tensor) -> Tensor:
        """The linear guess, in free numbers."""
        return self._encoding.encode(self._linear.invert(smashed))

    def forward(self, smashed: Tensor, guess: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` and the linear guess to free numbers ``(N, n)``."""
        seen = (smashed.flatten(1) - self.center) * self.scale
        free: Tensor = guess + self.layers(torch.cat([seen, guess], 1))
        return free


@dataclass(kw_only=True)
class TableDecoder(Attack):
    """Train a network on the attacker's own rows and what the server receives for them.

    Args:
        epochs: Passes over the attacker's rows.
        lr: Adam's learning rate at its highest; it falls to zero along a cosine.
        batch: Rows of a step.
        width: Width of both hidden layers.
    """

    plain_words = "a neural network trained to turn what was sent back into the columns of a row"
    rebuilds = ("table",)
    needs = Access.BLACK_BOX
    steps_option = "epochs"
    least_steps = 5

    epochs: Count = 30
    lr: LearningRate = 2e-3
    batch: Batch = 128
    width: Size = 512

    @property
    def keeps_apart(self) -> bool:
        """Rows that are held out decide which epoch is kept."""
        return True

    def fit(self, view: View) -> None:
        """Train; keep the epoch with the least loss on rows that are held out, which may be that of ridge alone."""
        generator, columns = torch.Generator().manual_seed(view.seed), columns_of(view)
        known, held_out = apart(view)
        linear = fitted(Ridge(), known)
        assert isinstance(linear, Ridge)
        rows, probed = auxiliary_images(known).to(view.device), held_out.to(view.device)
        arrived, asked = release(view.query, rows, view.device), release(view.query, probed, view.device)
        encoding = Encoding(columns, rows)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(view.seed)
            network = _Network(arrived.flatten(1), encoding, linear, rows.shape[1], self.width).to(view.device)

        @torch.no_grad()
        def error() -> float:
            return float(encoding.loss(network(asked, network.guess(asked)), probed).mean())

        least, best = error(), copy.deepcopy(network.state_dict())
        optimizer = torch.optim.AdamW(network.parameters(), self.lr, weight_decay=1e-2)
        steps = max(1, self.epochs * -(-len(rows) // self.batch))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for epoch in track(range(self.epochs), "training the decoder of rows"):
            if epoch and view.random:
                arrived = release(view.query, rows, view.device)
            if not epoch or view.random:
                guesses = network.guess(arrived)
            for part in torch.randperm(len(rows), generator=generator).to(view.device).split(self.batch):
                loss = encoding.loss(network(arrived[part], guesses[part]), rows[part]).mean()
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
            found = error()
            note(f"loss on held-out rows {found:.4f}")
            if found < least:
                least, best = found, copy.deepcopy(network.state_dict())
        network.load_state_dict(best)
        self._network, self._encoding = network.eval(), encoding

    @torch.no_grad()
    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> rows ``(N, n)``: shares of words, and numbers in [0, 1]."""
        own = smashed.to(self._network.center)
        free = [self._network(part, self._network.guess(part)) for part in own.split(CHUNK)]
        return self._encoding.decode(torch.cat(free)).clamp(0, 1).to(smashed)
