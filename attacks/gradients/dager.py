"""DAGER: sentences read off the gradients of the first two attention layers of a language model, exactly.

I. Petrov, D. I. Dimitrov, M. Baader, M. N. Müller, M. Vechev, "DAGER: Exact Gradient Inversion for Large Language
Models", NeurIPS 2024, https://arxiv.org/abs/2405.15586; code https://github.com/insait-institute/dager-gradient-inversion
at commit 4383e25.

The gradient of the weights of a layer is a sum over its inputs, so that these span the gradient's rows, as long as a
batch has fewer tokens than the layer is wide. A token belongs to the batch if its input of the first attention, which
nothing else changes, lies in that span. A sentence does if its inputs of the second attention do. In a decoder a token
sees those before it alone, so that sentences are found token by token. In an encoder every row depends on all tokens.

Differs from the paper: the gradients of queries, keys and values are taken together, for the first token of a sentence
leaves nothing in that of queries; the rank is where the singular values end in rounding. In an encoder several guesses
are corrected place by place, by the share of their rows that lies out of the span, where theirs tries all combinations
and falls back on heuristics. A sentence that is the beginning of another one of the batch is not told from it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.language import attentions_of, longest, table_of
from cutlayer.attacks.gradients.update import scaled_gradient
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.errors import ConfigError
from cutlayer.options import Count, Within
from cutlayer.sequences import PAD

log = logging.getLogger("cutlayer.attacks")
ROWS = 1 << 14
"""Tokens that are computed at a time."""

Outside = Callable[[Tensor], Tensor]
"""From sentences ``(N, T)`` to the share of each of their rows that lies out of the span, ``(N, T)``."""


@dataclass(kw_only=True)
class Dager(UpdateAttack):
    """Find the sentences whose rows lie in the span of the gradients of the first two attention layers.

    Args:
        tolerance: Share of a row that may lie out of the span.
        rounding: Singular values of a gradient, over the greatest, that rounding makes.
        kept: Beginnings that are followed in a decoder, for each sentence.
        guesses: Guesses that are corrected in an encoder at most, for each sentence.
    """

    plain_words = "reads the tokens of sentences off the gradients of a language model's first two attention layers"

    tolerance: Annotated[float, Within(0, 1, above=True)] = 1e-3
    rounding: Annotated[float, Within(0, 1, above=True)] = 3e-7
    kept: Count = 8
    guesses: Count = 24

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """See the base; what is not found is no token. Updates with too many tokens are answered with none.

        Raises:
            ConfigError: No update can be read.
        """
        found, refused = list[Recovered](), list[ConfigError]()
        for number, observation in enumerate(observations):
            try:
                answer = self._inverted(view, observation, np.random.default_rng([view.seed, number]))
            except ConfigError as error:
                refused.append(error)
                answer = torch.full((observation.samples, *view.input.shape), PAD)
            found.append(Recovered(answer))
        if len(refused) == len(found) and refused:
            raise refused[0]
        if refused:
            log.warning("dager reads nothing of %d of %d updates: %s", len(refused), len(found), refused[0])
        return found

    def _inverted(self, view: UpdateView, observation: Observation, rng: np.random.Generator) -> Tensor:
        model, samples = observation.model, observation.samples
        table_of(model, "dager")
        layers = attentions_of(model, "dager")[:2]
        gradient, length = scaled_gradient(observation, "dager"), longest(observation, view, "dager")
        spans = [self._span(gradient[f"{name}.weight"].cpu(), name) for name in layers]
        outside = [
            lambda ids, name=name, span=span: _outside(model, name, span, ids)
            for name, span in zip(layers, spans, strict=True)
        ]
        vocabulary = int(view.input.high or 0) + 1
        # Alone, a token has the same row before the first attention as at its place in any sentence.
        every = torch.arange(vocabulary)[:, None].expand(-1, length)
        near = outside[0](every) < self.tolerance
        near[PAD] = False
        tokens = [near[:, place].nonzero()[:, 0] for place in range(length)]
        if _sees_no_later(model, layers[1]):
            sentences, error = self._forward(tokens, samples, outside[1])
        elif samples == 1 and all(len(own) == 1 for own in tokens):
            sentences = torch.stack(tokens, 1)
            error = outside[1](sentences).mean(1)
        else:
            sentences, error = self._corrected(tokens, samples, outside[1], rng)
        answer = torch.full((samples, *view.input.shape), PAD)
        best = sentences[error.argsort(stable=True)][:samples]
        answer[: len(best), : best.shape[1]] = best
        return answer

    def _forward(self, tokens: Sequence[Tensor], samples: int, outside: Outside) -> tuple[Tensor, Tensor]:
        """Sentences of a decoder, from their beginnings on: those that no token continues, and the error of each."""
        found, error = torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, dtype=torch.float64)
        ended, errors = list[Tensor](), list[Tensor]()
        for place, own in enumerate(tokens):
            longer = torch.cat([found.repeat_interleave(len(own), 0), own.repeat(len(found))[:, None]], 1)
            last = outside(longer)[:, -1] if len(longer) else error[:0]
            good = last < self.tolerance
            goes_on = good.view(len(found), len(own)).any(1)
            ended.append(nn.functional.pad(found[~goes_on], (0, len(tokens) - place), value=PAD))
            errors.append(error[~goes_on] / max(1, place))
            error = error.repeat_interleave(len(own)) + last
            best = good.nonzero()[:, 0]
            best = best[error[best].argsort(stable=True)][: self.kept * samples]
            found, error = longer[best], error[best]
        return torch.cat([*ended, found]), torch.cat([*errors, error / len(tokens)])

    def _corrected(
        self, tokens: Sequence[Tensor], samples: int, outside: Outside, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Sentences of an encoder, each from a guess that is corrected, and the error of each.

        A guess that ends in the span is right. Guesses are mostly of tokens that are in no such sentence yet.
        """
        counts, found = [len(own) for own in tokens], dict[tuple[int, ...], float]()
        if not all(counts):
            return torch.zeros(0, len(counts), dtype=torch.int64), torch.zeros(0)
        # Where fewer tokens are found than at the place before, a sentence has ended.
        likely = np.array([0.3 + max(0, a - b) for a, b in zip(counts, [*counts[1:], 0], strict=True)])
        for _ in range(self.guesses * samples):
            sure = [ids for ids, error in found.items() if error < self.tolerance]
            if len(sure) >= samples:
                break
            length = 1 + int(rng.choice(len(likely), p=likely / likely.sum()))
            guess = [_drawn(own, {ids[k] for ids in sure}, rng) for k, own in enumerate(tokens[:length])]
            settled, error = _settled(torch.stack(guess), tokens, outside)
            found[tuple(nn.functional.pad(settled, (0, len(counts) - length), value=PAD).tolist())] = error
            likely[length - 1] *= 0.8
        return torch.tensor(list(found)), torch.tensor(list(found.values()))

    def _span(self, gradient: Tensor, name: str) -> Tensor:
        """An orthonormal basis of the rows of a gradient, ``(rank, width)``."""
        _, values, rows = torch.linalg.svd(gradient.double(), full_matrices=False)
        rank = int((values > self.rounding * values[0]).sum())
        # A normalization before the layer takes one dimension from its inputs.
        if rank >= gradient.shape[1] - 1:
            raise ConfigError(
                f"dager needs fewer tokens in a batch than the layer {name} is wide, {gradient.shape[1]}; the gradient "
                "has full rank. A defense that adds noise has this effect as well."
            )
        basis: Tensor = rows[:rank]
        return basis


def _drawn(tokens: Tensor, used: set[int], rng: np.random.Generator) -> Tensor:
    """One of the tokens of a place, mostly such as is in no sentence yet."""
    new = np.array([0.2 if int(token) in used else 1.0 for token in tokens])
    return tokens[int(rng.choice(len(tokens), p=new / new.sum()))]


def _settled(guess: Tensor, tokens: Sequence[Tensor], outside: Outside) -> tuple[Tensor, float]:
    """The sentence to which a guess, ``(T,)``, is corrected, and the mean share of its rows that lies out.

    Every token whose change alone is for the better is changed, together or the best of them alone.
    """
    error = float(outside(guess[None]).mean())
    while changes := [(k, int(t)) for k in range(len(guess)) for t in tokens[k] if t != guess[k]]:
        one = guess.repeat(len(changes), 1)
        for row, (place, token) in zip(one, changes, strict=True):
            row[place] = token
        alone = outside(one).mean(1)
        better = [k for k in alone.argsort(descending=True).tolist() if alone[k] < error]
        if not better:
            break
        # The best change of each place comes last.
        every, best = guess.clone(), one[better[-1]]
        for k in better:
            every[changes[k][0]] = changes[k][1]
        together = float(outside(every[None]).mean())
        guess, error = (every, together) if together < alone[better[-1]] else (best, float(alone[better[-1]]))
    return guess, error


def _sees_no_later(model: nn.Module, name: str) -> bool:
    """Whether the first token of a sentence gives the same input of a layer whatever follows it."""
    first = _rows(model, name, torch.tensor([[1, 1], [1, 2]]))[:, 0]
    return torch.equal(first[0], first[1])


def _outside(model: nn.Module, name: str, span: Tensor, ids: Tensor) -> Tensor:
    """The share of a layer's input that lies out of the span, for each token of sentences ``(N, T)``; 0 of none."""
    shares = list[Tensor]()
    for part in ids.split(max(1, ROWS // max(1, ids.shape[1]))):
        rows = _rows(model, name, part)
        rest = rows - rows @ span.T @ span
        shares.append(rest.norm(dim=-1) / rows.norm(dim=-1).clamp(min=1e-30))
    return torch.cat(shares) * (ids != PAD)


class _ReachedError(Exception):
    """Ends a computation at the layer whose input is asked for."""


def _rows(model: nn.Module, name: str, ids: Tensor) -> Tensor:
    """What a layer takes for sentences ``(N, T)``: ``(N, T, width)`` float64 on the CPU; later layers are left out."""
    seen = list[Tensor]()

    def stop(_: nn.Module, taken: tuple[Tensor, ...]) -> None:
        seen.append(taken[0].double().cpu())
        raise _ReachedError

    handle = model.get_submodule(name).register_forward_pre_hook(stop)
    try:
        with torch.no_grad(), contextlib.suppress(_ReachedError):
            model(ids.to(next(model.parameters()).device))
    finally:
        handle.remove()
    return seen[0]
