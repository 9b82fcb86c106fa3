"""SPEAR: a batch of several taken apart exactly, by the zeros that a ReLU leaves in the first layer's gradient.

D. I. Dimitrov, M. Baader, M. N. Müller, M. Vechev, "SPEAR: Exact Gradient Inversion of Batches in Federated Learning",
NeurIPS 2024, https://arxiv.org/abs/2403.03945.

The gradient of the first layer is a product ``A X``: row i of X is sample i, column i of A what reaches each unit from
sample i, which is zero where the ReLU is shut for it. The singular value decomposition finds a basis of both, and the
right change of basis is the one that makes columns of A sparse. A direction that is zero on B - 1 units that are shut
for one sample is that sample's column; units are drawn at random until each sample is met. The chance of a draw halves
with each sample, so that batches of some 16 take seconds, and of more than 24 are refused.

Differs from the paper: the gradient of the bias stands beside that of the weights as a number of each sample that is 1,
which gives the samples' scale; where the draws do not meet every sample, `ratio` answers for the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.first_layer import first_layer
from cutlayer.attacks.gradients.ratio import Ratio, within
from cutlayer.attacks.gradients.update import in_range, scaled_gradient
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.errors import ConfigError
from cutlayer.options import Count

MOST = 24
"""Samples of a batch, at most."""
CHUNK = 2048
ZERO = 1e-3
"""Share of the greatest number of a column below which another is zero but for rounding."""
UNIQUE = 1e-4
"""Singular value of units, over the greatest, above which they leave one direction alone."""
SPARSE = 0.1
"""Share of the units that are zero in a sample's column, at least, beside the B - 1 that were drawn."""
INDEPENDENT = 0.05
"""Share of a direction that lies out of the span of others, above which it is another one."""
REMEMBERED = 512
"""Directions that are kept from one share of the draws to the next."""


@dataclass(kw_only=True)
class Spear(UpdateAttack):
    """Change the basis of the first layer's gradient until its columns are sparse.

    Args:
        draws: Sets of units drawn, at most.
    """

    plain_words = "takes a batch apart by the zeros that ReLU leaves in the gradient of the first layer"

    draws: Count = 50_000

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """See the base."""
        return [
            Recovered(in_range(found, view.input))
            if (found := self._taken_apart(view, observation)) is not None
            else Ratio().invert(view, [observation])[0]
            for observation in observations
        ]

    def _taken_apart(self, view: UpdateView, observation: Observation) -> Tensor | None:
        """The samples ``(B, *input.shape)``; None if not every one was met."""
        n = observation.samples
        if n > MOST:
            raise ConfigError(f"spear takes batches of at most {MOST} samples apart; the update is from {n}.")
        layer = first_layer(observation, scaled_gradient(observation, "spear"), view.input, "spear")
        product = torch.cat([layer.weight, layer.bias[:, None]], 1).cpu()
        product = product[product.norm(dim=1) > 0]
        if len(product) <= n:
            return None
        left, values, right = torch.linalg.svd(product, full_matrices=False)
        for directions in self._sparse(left[:, :n] * values[:n], n, view.seed):
            rows = torch.linalg.solve(directions.T, right[:n])
            samples = layer.inputs((rows[:, :-1] / rows[:, -1:]).to(layer.offset)).cpu()
            if within(samples.flatten(1), view.input).all():
                return samples
        return None

    def _sparse(self, left: Tensor, n: int, seed: int) -> Iterator[Tensor]:
        """Independent directions ``(n, n)``, after each share of the draws those that leave most units at zero.

        Args:
            left: ``(units, n)``.
            n: Number of samples.
            seed: Seed of the draws.
        """
        if n == 1:
            yield torch.ones(1, 1, dtype=left.dtype)
            return
        generator = torch.Generator().manual_seed(seed)
        rows = left / left.norm(dim=1, keepdim=True)
        found, zeros = torch.empty(0, n, dtype=left.dtype), torch.empty(0)
        for _ in range(-(-self.draws // CHUNK)):
            units = torch.rand(CHUNK, len(rows), generator=generator).argsort(1)[:, : n - 1]
            directions = torch.linalg.svd(rows[units], full_matrices=True).Vh[:, -1]
            columns = (directions @ left.T).abs()
            share = (columns <= ZERO * columns.max(1, keepdim=True).values).float().mean(1)
            good = share > SPARSE + (n - 1) / len(rows)
            found, zeros = torch.cat([found, directions[good]]), torch.cat([zeros, share[good]])
            # A direction between those of two samples leaves the units at zero that are shut for both, which are fewer.
            order, kept = zeros.argsort(descending=True, stable=True), list[int]()
            basis = torch.empty(0, n, dtype=left.dtype)
            for k in order.tolist():
                rest = found[k] - found[k] @ basis.T @ basis
                if len(kept) < n and rest.norm() > INDEPENDENT:
                    kept.append(k)
                    basis = torch.cat([basis, (rest / rest.norm())[None]])
            if len(kept) == n:
                yield torch.stack([_refined(left, direction) for direction in found[kept]])
            found, zeros = found[order[:REMEMBERED]], zeros[order[:REMEMBERED]]


def _refined(left: Tensor, direction: Tensor) -> Tensor:
    """The direction that leaves all units at zero that the given one leaves near it, twice, the second time nearer."""
    for zero in (ZERO, ZERO / 100):
        column = (left @ direction).abs()
        shut = left[column <= zero * column.max()]
        if len(shut) >= left.shape[1] - 1:
            _, spread, basis = torch.linalg.svd(shut, full_matrices=True)
            # Units that are shut for two samples at once do not say which direction it is.
            direction = basis[-1] if spread[left.shape[1] - 2] > UNIQUE * spread[0] else direction
    return direction
