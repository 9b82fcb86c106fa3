"""Split training in one process without messages, and what the party without the labels sees of it."""

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

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
    """Protect nothing."""
    return gradient


def layers(*widths: int, seed: int = 0) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pairs = [(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(widths)]
        return nn.Sequential(*[layer for pair in pairs for layer in pair][:-1])


def epochs_of(
    head: nn.Module,
    tail: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    classes: int = 2,
    batch: int = 256,
    lr: float = 1e-3,
    protect: Protect = as_it_is,
    private: Tensor | None = None,
    seed: int = 0,
) -> Iterator[Trained]:
    """Train without end; after each epoch give the view of its steps, with the tails as they were in it.

    Args:
        head: The layers of the party without the labels.
        tail: Those of the other one.
        inputs: ``(N, ...)``.
        labels: ``(N,)``.
        classes: Number of classes.
        batch: The greatest number of samples in a step.
        lr: Learning rate of Adam, for both.
        protect: What is done to the gradient at the cut.
        seed: Seed of the order and of `protect`.
        private: ``(N, P)``, features of the party with the labels, which its tail takes after the smashed data.
    """
    rng = np.random.default_rng(seed)
    optimizers = [torch.optim.Adam(part.parameters(), lr) for part in (head, tail)]
    while True:
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
        gradients, smashed_data, tails = zip(*seen, strict=True)
        view = LabelView(gradients, classes, seed, {}, smashed_data, tails.__getitem__)
        yield Trained(view, labels.numpy()[order], order, head, tail)


def train(
    head: nn.Module, tail: nn.Module, inputs: Tensor, labels: Tensor, *, epochs: int = 1, **options: Any
) -> Trained:
    """The last of so many epochs; see `epochs_of`."""
    return next(itertools.islice(epochs_of(head, tail, inputs, labels, **options), epochs - 1, None))


def hints(labels: np.ndarray, per_class: int, classes: tuple[int, ...]) -> dict[int, int]:
    """The first samples of each of the classes, as known ones."""
    return {int(sample): label for label in classes for sample in np.flatnonzero(labels == label)[:per_class]}
