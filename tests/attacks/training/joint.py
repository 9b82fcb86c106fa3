"""A split step of one process, and what the party without the labels sees of it."""

import copy
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.attacks.training.base import LabelView

Protect = Callable[[Tensor, Tensor, np.random.Generator], Tensor]


class Trained(NamedTuple):
    """What a training left: what was seen, and the truth."""

    view: LabelView
    labels: np.ndarray
    order: np.ndarray
    head: nn.Module
    tail: nn.Module


def as_it_is(gradient: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
    return gradient


def layers(*widths: int, seed: int = 0) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pairs = [(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(widths)]
        return nn.Sequential(*[layer for pair in pairs for layer in pair][:-1])


def train(
    head: nn.Module,
    tail: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    classes: int = 2,
    batch: int = 256,
    epochs: int = 1,
    lr: float = 1e-3,
    protect: Protect = as_it_is,
    private: Tensor | None = None,
    seed: int = 0,
) -> Trained:
    """Train for some epochs; the view holds the steps of the last one, and the tails as they were in it.

    Args:
        private: ``(N, P)``, features of the party with the labels, which its tail takes after the smashed data.
    """
    rng = np.random.default_rng(seed)
    optimizers = [torch.optim.Adam(part.parameters(), lr) for part in (head, tail)]
    for _ in range(epochs):
        order = rng.permutation(len(inputs))
        seen: list[tuple[Tensor, Tensor, nn.Module]] = []
        for index in np.array_split(order, -(-len(inputs) // batch)):
            smashed = head(inputs[index])
            received = smashed.detach().requires_grad_()
            before = copy.deepcopy(tail)
            taken = received if private is None else torch.cat([received, private[index]], 1)
            loss = functional.cross_entropy(tail(taken), labels[index])
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            gradient = protect(received.grad, labels[index], rng)
            smashed.backward(gradient)
            for optimizer in optimizers:
                optimizer.step()
            seen.append((gradient, received.detach(), before))
    gradients, smashed, tails = zip(*seen, strict=True)
    view = LabelView(gradients, classes, seed, {}, smashed, tails.__getitem__)
    return Trained(view, labels.numpy()[order], order, head, tail)


def hints(labels: np.ndarray, per_class: int, classes: tuple[int, ...]) -> dict[int, int]:
    """The first samples of each of the classes, as known ones."""
    return {int(sample): label for label in classes for sample in np.flatnonzero(labels == label)[:per_class]}
