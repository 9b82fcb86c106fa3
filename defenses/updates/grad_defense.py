"""GradDefense: slices of the update that tell equally much of the samples, some of which are clipped and get noise.

J. Wang, S. Guo, X. Xie, H. Qi, "Protect Privacy from Gradient Leakage Attack in Federated Learning", INFOCOM 2022
(github.com/wangjunxiao/GradDefense): the numbers of the update, in the order of the layers, are cut into slices of
equal sensitivity (see `cutlayer.defenses.updates.sensitivity`); a random choice of the slices is clipped and gets
Gaussian noise.

Differs from the paper: bound and deviation are two options, where the code has one; the update of the batch is clipped,
not that of each sample; slices end at any number, and not at multiples of a common divisor; the choice is drawn anew
for each update. In a port of the code (Plato) the generator of the choice has the seed 0 from its import on, so that
every run and client perturbs the same slices. The de-noising at the server is left out.

Threat model: the aggregator of the updates. Which slices have noise is not told to it, and can be guessed: noise is
often longer than a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.shared.draws import normal
from cutlayer.defenses.updates.base import Local, Twin, Update, UpdateDefense
from cutlayer.defenses.updates.sensitivity import sensitivities
from cutlayer.options import Count, Weight, Whole

if TYPE_CHECKING:
    from torch import Tensor


_WINDOW, _NEAR = 64, 0.75
"""Numbers that are judged together, and the share of the noise's deviation that tells noise."""


@dataclass(kw_only=True)
class GradDefense(UpdateDefense):
    """Clip some slices of the update, drawn at random, and add noise to them.

    Args:
        perturbed: Number of slices that are changed; all if there are not so many.
        slices: Number of slices of equal sensitivity.
        bound: Greatest length of a chosen slice, to which it is shortened; 0 for none.
        sigma: Standard deviation of the noise in the chosen slices.
        samples: The greatest number of samples that the sensitivity is computed from.
    """

    knob = "perturbed"
    plain_words = "adds noise to randomly chosen parts of the update"

    perturbed: Whole = 5
    slices: Count = 10
    bound: Weight = 1.0
    sigma: Weight = 0.1
    samples: Count = 64

    @property
    def needs_loss(self) -> bool:
        """See the base."""
        return True

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        known = sensitivities(self.needed(local), update, rng, self.samples)
        sizes = {name: math.prod(value.shape) for name, value in update.items()}
        ends = slice_ends(sizes, known, self.slices)
        first = next(iter(update.values()))
        xp = array_namespace(first)
        flat = xp.concat([xp.reshape(value, (-1,)) for value in update.values()])
        for k in rng.permutation(len(ends) - 1)[: self.perturbed]:
            part = flat[ends[k] : ends[k + 1]]
            long = float(xp.sum(part * part)) ** 0.5
            if self.bound and long > self.bound:
                part = part * (self.bound / long)
            flat[ends[k] : ends[k + 1]] = part + self.sigma * normal(part, rng)
        starts = np.cumsum([0, *sizes.values()])
        return {
            name: xp.reshape(flat[begin:end], value.shape)
            for (name, value), (begin, end) in zip(update.items(), pairwise(starts), strict=True)
        }

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base. Where `sent` is as long as the noise it is taken for noise, which every update agrees with."""
        if not self.on:
            return None
        noisy = {name: self._noisy(value) for name, value in sent.items()}

        def without(update: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: value.where(~noisy[name], sent[name]) for name, value in update.items()}

        return without

    def _noisy(self, value: Tensor) -> Tensor:
        """Which numbers of a parameter lie in a window whose root mean square is near that of the noise, or greater."""
        squares = value.detach().flatten().square()
        n = len(squares)
        mean = squares.new_ones(n)
        for begin in range(0, n, _WINDOW):
            mean[begin : begin + _WINDOW] = squares[begin : begin + _WINDOW].mean()
        return (mean.sqrt() >= _NEAR * self.sigma).view_as(value)


def slice_ends(sizes: Mapping[str, int], sensitivity: Mapping[str, float], slices: int) -> NDArray[np.int64]:
    """Where slices of equal sensitivity begin and end in the flattened update, ``(slices + 1,)`` or fewer.

    The sensitivity of a parameter is spread evenly over its numbers.

    Args:
        sizes: Numbers of each parameter.
        sensitivity: Sensitivity of each parameter; all parameters alike where it is 0 everywhere.
        slices: Number of slices.
    """
    counts = np.array([*sizes.values()])
    shares = np.array([sensitivity[name] for name in sizes])
    if not shares.any():
        shares = counts.astype(float)
    reached = np.concatenate([[0.0], np.cumsum(shares) / shares.sum()])
    starts = np.concatenate([[0], np.cumsum(counts)])
    ends = np.interp(np.linspace(0, 1, slices + 1), reached, starts).round().astype(np.int64)
    ends[0], ends[-1] = 0, starts[-1]
    return np.unique(ends)
