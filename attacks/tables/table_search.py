"""Table search: through the head, the row that explains what arrived, and is likely besides.

    x* = argmin  misfit(head(x), v)  +  weight * (-log p(x)),      x = (softmax(z_1), ..., softmax(z_k), numbers)

M. Vero, M. Balunović, D. I. Dimitrov, M. Vechev, "TabLeak: Tabular Data Leakage in Federated Learning", ICML 2023,
https://arxiv.org/abs/2210.01785, searches rows behind a gradient: words are shares of their numbers by a softmax, many
searches begin at random, the answer is what they agree on, and the entropy of their shares says how sure it is. Here
rows behind smashed data are searched the same way. Threat model: the attacker holds the head's weights and the
defense's code and settings, not its random draws, and rows like the victims'.

Differs from the paper:

- One search begins at the answer of another attack, p: the shares of each word, and a normal density of each number
  around it, as wide as that attack errs on rows that it has not learned from. The weight of p is chosen on such rows;
  where no search is surely better than p alone, the attack answers p, as in `cutlayer.attacks.features.map`.
- In the last third of the steps each word is the most likely one, and gradients pass as if it were its shares: a
  mixture of words explains what arrived as well as a word does, and no row holds one.
- A search counts whose loss is at most four times that of the best. Adam, not its signs, and 300 steps.

What is rebuilt of a word are the shares, the mean over the searches that count; of a number, the median.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cutlayer.attacks.base import fitted
from cutlayer.attacks.features.misfit import Misfit, suitable
from cutlayer.attacks.features.white_box import freeze
from cutlayer.attacks.queries import auxiliary_images, surely_less
from cutlayer.attacks.tables.columns import Encoding, columns_of
from cutlayer.attacks.view import Access, View
from cutlayer.attacks.wrapping import Wrapping
from cutlayer.options import Count, LearningRate, Weight
from cutlayer.progress import track

CHUNK = 1024
"""Rows searched together, each restart for itself."""
MEASURED = 256
"""Rows, at most, on which the errors of the other attack are measured."""
SOFT = 2 / 3
"""Share of the steps in which a word may be a mixture."""
ARRIVED, EXACT = 4.0, 1e-6
"""A search counts whose loss is at most so many times that of the best, or of what rounding leaves of nothing."""


@dataclass(kw_only=True)
class TableSearch(Wrapping):
    """Search each row by gradients through the head, several times over.

    Args:
        attack: Name of the attack whose answer is likely.
        options: Options of that attack; None for its defaults.
        iterations: Adam steps.
        lr: Adam's learning rate at its highest; it falls to zero along a line.
        restarts: Searches of each row: the first from the answer of the other attack, the others from random rows.
        weight: Weights of what is likely, to rehearse.
        rehearsal: Rows searched with every weight to choose one.
    """

    plain_words = "changes a guessed row until it would have sent the same numbers, several times over"
    rebuilds = ("table",)
    needs = Access.WHITE_BOX
    steps_option = "iterations"
    least_steps = 50

    attack: str = "table-decoder"
    iterations: Count = 300
    lr: LearningRate = 0.1
    restarts: Count = 4
    weight: tuple[Weight, ...] = (0.0, 0.001, 0.01, 0.1)
    rehearsal: Count = 64

    def __post_init__(self) -> None:
        self.weight = tuple(self.weight)  # TOML writes lists
        super().__post_init__()

    @property
    def rescales_misfit(self) -> bool:
        """Directions that a defense has made faint are rescaled."""
        return True

    def fit(self, view: View) -> None:
        """Fit the other attack, measure its errors on rows that it has not learned from, and choose a setting."""
        self._device, self._head, self._seed = view.device, freeze(view.head).to(view.device), view.seed
        rows, starts, releases = self.rehearsed(view, MEASURED)
        self._encoding = Encoding(columns_of(view), auxiliary_images(view).to(view.device))
        numbers = self._encoding.numbers
        off = (starts - rows)[:, numbers] / self._encoding.unit
        self._spread = off.square().mean(0).sqrt().clamp(min=0.01)
        kinds = suitable(view.defense, releases[0])
        self._misfit = Misfit(kinds, auxiliary_images(view, MEASURED).to(view.device), view)
        few = slice(self.rehearsal)
        alone, errors = self._encoding.wrong(starts[few], rows[few]), dict[tuple[str, float], Tensor]()
        for kind in kinds:
            for weight in self.weight:
                found = self._search(releases[:, few], starts[few], kind, weight)
                errors[kind, weight] = self._encoding.wrong(found, rows[few])
        best = min(errors, key=lambda setting: float(errors[setting].mean()))
        self._setting = best if surely_less(errors[best], alone) else None
        self._inner = fitted(self._inner, view)

    def invert_releases(self, releases: Tensor) -> Tensor:
        """``(n_releases, N, *smashed.shape)`` -> rows ``(N, n)``: shares of words, and numbers in [0, 1]."""
        observed = releases.to(self._device)
        rows = self._inner.invert_releases(observed)
        if self._setting is not None:
            rows = self._search(observed, rows, *self._setting)
        return rows.to(releases.device)

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> rows ``(N, n)``."""
        return self.invert_releases(smashed[None])

    def _search(self, releases: Tensor, starts: Tensor, kind: str, weight: float) -> Tensor:
        generator, size = torch.Generator().manual_seed(self._seed), max(1, CHUNK // self.restarts)
        parts = zip(releases.split(size, dim=1), starts.split(size), strict=True)
        return torch.cat([self._agreed(observed, start, kind, weight, generator) for observed, start in parts])

    def _agreed(self, releases: Tensor, starts: Tensor, kind: str, weight: float, generator: torch.Generator) -> Tensor:
        """What the searches of some rows agree on, ``(N, n)``."""
        likely, others = self._encoding.encode(starts), (self.restarts - 1, *starts.shape)
        begin = torch.cat([likely[None], torch.randn(others, generator=generator).to(likely)]).flatten(0, 1)
        observed = releases.repeat(1, self.restarts, *[1] * (releases.ndim - 2))
        free, loss = self._optimize(observed, begin, likely.repeat(self.restarts, 1), kind, weight)
        rows = self._encoding.decode(free).unflatten(0, (self.restarts, -1))
        loss = loss.unflatten(0, (self.restarts, -1)).nan_to_num(torch.inf)
        counts = (loss <= ARRIVED * loss.amin(0).clamp(min=EXACT)) | (loss == loss.amin(0))
        agreed: Tensor = (rows * counts[:, :, None]).sum(0) / counts.sum(0)[:, None]
        numbers = self._encoding.numbers
        voting = rows[:, :, numbers].masked_fill(~counts[:, :, None], torch.nan)
        agreed[:, numbers] = voting.nanmedian(0).values
        return agreed.clamp(0, 1)

    def _optimize(
        self, releases: Tensor, begin: Tensor, likely: Tensor, kind: str, weight: float
    ) -> tuple[Tensor, Tensor]:
        """Run Adam on free numbers ``(N, n)``; returns them, and the loss of each row at the last step, ``(N,)``."""
        free = begin.clone().requires_grad_()
        optimizer = torch.optim.Adam([free], self.lr)
        loss = torch.empty(0)
        for step in track(range(self.iterations), "searching the rows"):
            optimizer.param_groups[0]["lr"] = self.lr * (1 - step / self.iterations)
            rows = self._encoding.decode(free)
            unlikely = self._unlikely(free, rows, likely)
            if step >= SOFT * self.iterations:
                rows = self._hard(rows)
            loss = self._misfit(kind, self._head(rows), releases) + weight * unlikely
            (free.grad,) = torch.autograd.grad(loss.sum(), free)
            optimizer.step()
        return free.detach(), loss.detach()

    def _unlikely(self, free: Tensor, rows: Tensor, likely: Tensor) -> Tensor:
        """How unlikely the answer of the other attack makes a row, the mean over columns, ``(N,)``."""
        off = (free - likely)[:, self._encoding.numbers] / self._spread
        total = off.square().sum(1) / 2
        for part in self._encoding.words:
            total = total - (rows[:, part] * likely[:, part].log_softmax(1)).sum(1)
        return total / len(self._encoding.columns)

    def _hard(self, rows: Tensor) -> Tensor:
        """The most likely word of each column, with the gradient of its shares."""
        hard = rows.clone()
        for part in self._encoding.words:
            chosen = functional.one_hot(rows[:, part].argmax(1), part.stop - part.start).to(rows)
            hard[:, part] = chosen + rows[:, part] - rows[:, part].detach()
        return hard
