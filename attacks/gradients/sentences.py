"""Sentences as what a search of gradient inversion changes: a row of numbers for each token; how likely a text is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer import training
from cutlayer.attacks.gradients.descent import Parameters
from cutlayer.attacks.gradients.priors import Prior, Trial
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.errors import ConfigError
from cutlayer.models.text_transformer import Last, text_gpt
from cutlayer.nets.remembered import remembered
from cutlayer.sequences import PAD

Unlikely = Callable[[Tensor], Tensor]
"""From sentences ``(N, T)`` to the mean of minus the logarithm of the probability of their tokens, ``(N,)``."""


class Sentences(Prior):
    """The rows of the tokens of sentences, in units of the table of tokens.

    Args:
        table: ``(V, width)``: the row of each token; that of no token is left out.
        batch: Number of sentences.
        length: Tokens of each of them.
        padded: Length of the sentences that are handed over.
        scaled: Whether the first rows are as long as those of the table.
    """

    def __init__(self, table: Tensor, batch: int, length: int, padded: int, *, scaled: bool) -> None:
        self._table = table.detach()
        self._batch, self._length, self._padded, self._scaled = batch, length, padded, scaled
        self._unit = self._table[PAD + 1 :].square().mean().sqrt()
        self._norm = self._table[PAD + 1 :].norm(dim=1).mean() / self._unit

    def begin(self, before: Parameters, random: torch.Generator) -> Parameters:
        """Normal noise."""
        rows = torch.randn(self._batch, self._length, self._table.shape[1], generator=random).to(self._table)
        return {"rows": functional.normalize(rows, dim=2) * self._norm if self._scaled else rows}

    def decode(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The rows, ``(B, T, width)``."""
        return parameters["rows"] * self._unit

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The square of how far the mean length of a row is from that in the table, in units of the latter (LAMP)."""
        penalty: Tensor = (parameters["rows"].norm(dim=2).mean() / self._norm - 1).square()
        return penalty

    def read(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The tokens with the rows of the most similar direction, ``(B, padded)`` int64."""
        return functional.pad(self.nearest(parameters["rows"]), (0, self._padded - self._length), value=PAD)

    def nearest(self, rows: Tensor) -> Tensor:
        """The token of each row ``(..., width)``."""
        table = functional.normalize(self._table[PAD + 1 :], dim=1)
        return (rows @ table.T).argmax(-1) + PAD + 1


class Ordered(Sentences):
    """Sentences whose order is tried out too: the more likely text wins where updates are as near.

    Args:
        table: See `Sentences`.
        batch: See `Sentences`.
        length: See `Sentences`.
        padded: See `Sentences`.
        unlikely: The language model.
        candidates: Random beginnings among which is chosen before the first step, and orders of the best of them.
        weight: What an unlikely text costs.
        every: Steps between two trials.
        first: Step before which there are none.
        orders: Orders that are tried in each trial, for each sentence.
    """

    def __init__(
        self, table: Tensor, batch: int, length: int, padded: int, unlikely: Unlikely, *, candidates: int,
        weight: float, every: int, first: int, orders: int,
    ) -> None:  # fmt: skip
        super().__init__(table, batch, length, padded, scaled=True)
        self._unlikely, self._weight, self._candidates = unlikely, weight, candidates
        self._every, self._first, self._orders, self._step = every, first, orders, -1

    def rearrange(self, parameters: Parameters, random: Sequence[torch.Generator], trial: Trial) -> None:
        """Begin well, and then take the best of several orders of each sentence, that which it has among them."""
        self._step += 1
        if not self._step:
            for k, own in enumerate(random):
                parameters["rows"][k] = self._begun(parameters["rows"][k], own, partial(trial, k))
        elif self._length > 1 and self._step >= self._first and self._step % self._every == 0:
            for k, own in enumerate(random):
                for sentence in range(self._batch):
                    rows = parameters["rows"][k]
                    orders = [moved(self._length, n, own) for n in range(self._orders)]
                    tried = rows.repeat(1 + len(orders), 1, 1, 1)
                    tried[1:, sentence] = rows[sentence][torch.stack(orders).to(rows.device)]
                    costs = trial(k, {"rows": tried})
                    costs = costs + self._weight * self._unlikely(self.nearest(tried[:, sentence]))
                    parameters["rows"][k] = tried[int(costs.argmin())]

    def _begun(self, rows: Tensor, random: torch.Generator, trial: Callable[[Parameters], Tensor]) -> Tensor:
        """The best of several beginnings and of several orders of its tokens; `rows` is one of them."""
        drawn = [self.begin({}, random)["rows"] for _ in range(self._candidates - 1)]
        every = torch.stack([rows, *drawn])
        best = every[int(trial({"rows": every}).argmin())]
        orders = [torch.randperm(self._length, generator=random) for _ in range(self._candidates - 1)]
        every = torch.stack([best, *(best[:, order.to(best.device)] for order in orders)])
        return every[int(trial({"rows": every}).argmin())]


def moved(length: int, kind: int, random: torch.Generator) -> Tensor:
    """Another order of places: two exchanged, one moved, a part moved, or the beginning put behind the end (LAMP)."""
    places = list(range(length))
    a, b, to = (int(torch.randint(length, (), generator=random)) for _ in range(3))
    if kind % 4 == 0:
        places[a], places[b] = places[b], places[a]
    elif kind % 4 == 1:
        places.insert(b, places.pop(a))
    elif kind % 4 == 2:
        a, b = min(a, b), max(a, b) + 1
        part, rest = places[a:b], places[:a] + places[b:]
        to %= len(rest) + 1
        places = rest[:to] + part + rest[to:]
    else:
        places = places[a:] + places[:a]
    return torch.tensor(places)


def language_model(view: UpdateView, epochs: int) -> Unlikely:
    """How unlikely sentences are, by a decoder of `text_gpt`'s size that is trained on the attacker's own sentences.

    The last few are remembered.

    Raises:
        ConfigError: The attacker has no sentences.
    """
    if not len(view.auxiliary):
        raise ConfigError("A language model is trained on the attacker's own sentences, and there are none.")
    vocabulary = int(view.input.high or 0) + 1

    def train() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(view.seed)
            decoder = text_gpt(view.input, vocabulary)
        # Each token is asked for the next one, and not the last one for a class.
        model = nn.Sequential(*(layer for layer in decoder.children() if not isinstance(layer, Last)))

        def loss(ids: Tensor, *_: object) -> Tensor:
            return _surprise(model, ids).mean()

        training.optimize([model], view.auxiliary, loss, epochs=epochs, seed=view.seed, device=view.device)
        return model.eval().requires_grad_(False)

    own = torch.from_numpy(view.auxiliary.inputs)
    model = remembered(("language model of updates", epochs, view.seed), (own,), train).to(view.device)

    def unlikely(ids: Tensor) -> Tensor:
        with torch.no_grad():
            return _surprise(model, ids)

    return unlikely


def _surprise(model: nn.Module, ids: Tensor) -> Tensor:
    """The mean of minus the logarithm of the probability of each token but the first, for each sentence, ``(N,)``."""
    logits = model(ids)[:, :-1].float()
    here = ids[:, 1:] != PAD
    each = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none") * here
    mean: Tensor = each.sum(1) / here.sum(1).clamp(min=1)
    return mean
