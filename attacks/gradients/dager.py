"""DAGER: tokens read off the gradients of the first two attention layers of a transformer, exactly.

I. Petrov, D. I. Dimitrov, M. Baader, M. N. Müller, M. Vechev, "DAGER: Exact Gradient Inversion for Large Language
Models", NeurIPS 2024, https://arxiv.org/abs/2405.15586; code https://github.com/insait-institute/dager-gradient-inversion
at commit 4383e25.

The gradient of the weights of a layer is a sum over its inputs, so that these span the gradient's rows, as long as a
batch has fewer tokens than the layer is wide. A token belongs to the batch if its input of the first attention, which
nothing else changes, lies in that span. A sequence does if its inputs of the second attention do, and as a token sees
those before it alone, sequences are found token by token.

Differs from the paper: the gradients of queries, keys and values are taken together, for the first token of a sequence
leaves nothing in that of queries; the rank is where the singular values end in rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.update import scaled_gradient
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.errors import ConfigError
from cutlayer.nets.transformer import Attention
from cutlayer.options import Count, Within

CHUNK = 256


@dataclass(kw_only=True)
class Dager(UpdateAttack):
    """Find the tokens whose inputs lie in the span of the gradients of the first two attention layers.

    Args:
        tolerance: Share of an input that may lie out of the span.
        rounding: Singular values of a gradient, over the greatest, that rounding makes.
        kept: Beginnings of sequences that are followed, for each sequence of the batch.
    """

    plain_words = "reads the tokens of sentences off the gradients of a transformer's first two attention layers"

    tolerance: Annotated[float, Within(0, 1, above=True)] = 0.02
    rounding: Annotated[float, Within(0, 1, above=True)] = 3e-7
    kept: Count = 8

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """See the base; the inputs are the numbers of tokens. What is not found is a token of number 0."""
        return [Recovered(self._inverted(view, observation)) for observation in observations]

    def _inverted(self, view: UpdateView, observation: Observation) -> Tensor:
        model = observation.model
        names = [name for name, layer in model.named_modules() if isinstance(layer, Attention)]
        if len(view.input.shape) != 1 or view.input.high is None or len(names) < 2:
            raise ConfigError(
                "dager reads tokens off the first two attention layers of a transformer "
                "(cutlayer.nets.transformer.Attention), and the model or its input is of another kind."
            )
        gradient = scaled_gradient(observation, "dager")
        first, second = (self._span(gradient[f"{name}.qkv.weight"].cpu(), name) for name in names[:2])
        length, vocabulary = view.input.shape[0], int(view.input.high) + 1
        # Alone, a token has the same input of the first attention at a place as in any sequence.
        every = torch.arange(vocabulary)[:, None].expand(-1, length)
        distances = torch.cat([_outside(_taken(model, names[0], part), first) for part in every.split(CHUNK)])
        found, error = torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1)
        for place in range(length):
            tokens = (distances[:, place] < self.tolerance).nonzero()[:, 0]
            longer = torch.cat([found.repeat_interleave(len(tokens), 0), tokens.repeat(len(found))[:, None]], 1)
            if not len(longer):
                break
            outside = torch.cat(
                [_outside(_taken(model, names[1], part)[:, -1], second) for part in longer.split(CHUNK)]
            )
            error = error.repeat_interleave(len(tokens)) + outside
            good = (outside < self.tolerance).nonzero()[:, 0]
            good = good[error[good].argsort(stable=True)][: self.kept * observation.samples]
            if not len(good):
                break
            found, error = longer[good], error[good]
        answer = torch.zeros(observation.samples, length)
        found = found[error.argsort(stable=True)][: observation.samples]
        answer[: len(found), : found.shape[1]] = found.float()
        return answer

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


def _taken(model: nn.Module, name: str, tokens: Tensor) -> Tensor:
    """What a layer takes for sequences ``(N, T)``: ``(N, T, width)`` float64 on the CPU."""
    layer, seen = model.get_submodule(name), list[Tensor]()
    handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        with torch.no_grad():
            model(tokens.to(next(model.parameters()).device))
    finally:
        handle.remove()
    return seen[0].double().cpu()


def _outside(vectors: Tensor, span: Tensor) -> Tensor:
    """The share of the length of vectors ``(..., width)`` that lies out of the span of rows, ``(...)``."""
    rest = vectors - vectors @ span.T @ span
    share: Tensor = rest.norm(dim=-1) / vectors.norm(dim=-1).clamp(min=1e-30)
    return share
