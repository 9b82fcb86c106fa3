"""Pairs of gradients and inputs that an attacker makes of its own samples, for attacks that learn from them.

The gradients are made as the clients make theirs: of batches of the same size, with the same local steps, and through
the same defense with draws of its own, where the view grants the defense. Where clients mix their updates, so does the
attacker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutlayer.attacks.gradients.client import Made, mixed, observed
from cutlayer.attacks.gradients.update import as_gradient, hides_scale
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.defenses.updates.none import Unprotected

HELD_OUT = 0.1
"""Share of the pairs by which settings are chosen."""
FAR = 8.0
"""Standard deviations beyond which a number is clipped: a ratio by almost nothing says no more than its sign."""
F = TypeVar("F")


Describe = Callable[[Mapping[str, Tensor]], Tensor]
"""What an attack learns from, made of a gradient: a tensor of a shape that is equal for all."""


@dataclass(frozen=True)
class Examples:
    """Gradients, and the samples that each is from.

    Attributes:
        gradients: ``(N, ...)``: each as the attack describes it.
        inputs: ``(N, B, *input.shape)``.
        labels: ``(N, B)`` int64.
        n_fit: The pairs from this one on are held out, and share no sample with those before.
    """

    gradients: Tensor
    inputs: Tensor
    labels: Tensor
    n_fit: int


def examples(view: UpdateView, like: Observation, n: int, describe: Describe) -> Examples:
    """Make pairs for updates of one kind.

    Args:
        view: What the attacker holds.
        like: One of the updates.
        n: Number of pairs; no more than there are samples where a batch is one sample.
        describe: What the attack learns from.
    """
    rng = np.random.default_rng([view.seed, 11])
    own = view.auxiliary.at(rng.permutation(len(view.auxiliary)))
    held_out = own.held_out(max(1, int(HELD_OUT * len(own))))
    n = min(n, len(own)) if like.samples == 1 else n
    n_out = max(1, int(HELD_OUT * n))
    index = np.concatenate(
        [
            _batches(np.flatnonzero(~held_out), n - n_out, like.samples, rng),
            _batches(np.flatnonzero(held_out), n_out, like.samples, rng),
        ]
    )
    inputs, labels = torch.from_numpy(own.inputs[index]), torch.from_numpy(own.labels[index])
    defense: UpdateDefense = view.defense if view.knows_defense else Unprotected()

    def made(k: int) -> Made:
        return observed(
            like.model, inputs[k], labels[k], defense, rng, local_steps=like.local_steps, lr=like.lr,
            batch=like.batch if like.local_steps else 0, round=like.round, eval_mode=like.eval_mode,
        )  # fmt: skip

    rows = []
    for first in range(0, n, view.among):
        # The last round is filled up with the first updates again.
        clients = [made(k % n) for k in range(first, first + view.among)]
        for one in (mixed(clients, defense, rng) if defense.mixes and view.among > 1 else clients)[: n - first]:
            gradient = as_gradient(one.observation)
            rows.append(describe({name: g.sign() for name, g in gradient.items()} if hides_scale(like) else gradient))
    return Examples(torch.stack(rows), inputs, labels, n - n_out)


def flat(gradient: Mapping[str, Tensor], most: int) -> Tensor:
    """A gradient as one row ``(D,)``, float32 on the CPU; where it is longer than `most`, hashed to so many numbers.

    Each number is added with a sign of its own to one of the places (K. Weinberger, A. Dasgupta, J. Langford, A. Smola,
    J. Attenberg, "Feature Hashing for Large Scale Multitask Learning", ICML 2009).
    """
    row = torch.cat([value.detach().float().flatten().cpu() for value in gradient.values()])
    if len(row) <= most:
        return row
    generator = torch.Generator().manual_seed(len(row))
    places = torch.randint(most, (len(row),), generator=generator)
    signs = torch.randint(2, (len(row),), generator=generator) * 2 - 1
    return torch.zeros(most).index_add_(0, places, row * signs)


def for_each_kind(
    observations: Sequence[Observation], fit: Callable[[Observation], F]
) -> Iterator[tuple[F, Observation]]:
    """What is fitted to the kind of each update, once for equal ones, and the update."""
    fitted: dict[Any, F] = {}
    for o in observations:
        kind = (id(o.model), o.samples, o.local_steps, o.batch, o.lr, o.optimizer, o.round, o.eval_mode)
        if kind not in fitted:
            fitted[kind] = fit(o)
        yield fitted[kind], o


class Scale:
    """Subtract the mean of each number, divide by its deviation, and clip what is far out; 0 for what never changes.

    Args:
        rows: ``(N, D)``: what mean and deviation are of.
    """

    def __init__(self, rows: Tensor) -> None:
        spread = rows.std(0)
        self._mean, self._factor = rows.mean(0), torch.where(spread > 1e-6 * spread.max(), 1 / spread, 0.0)

    def __call__(self, rows: Tensor) -> Tensor:
        """``(N, D)`` -> the same shape."""
        return ((rows - self._mean) * self._factor).clamp_(-FAR, FAR)


def _batches(of: NDArray[np.intp], n: int, size: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """``(n, size)`` positions, none twice in a batch where there are enough; one after another for single samples."""
    if size == 1:
        return of[np.arange(n) % len(of)][:, None]
    return np.stack([rng.choice(of, size, replace=size > len(of)) for _ in range(n)])
