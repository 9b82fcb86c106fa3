"""A client that watches its gradients, at a server that is honest, hijacks, learns random labels, or spies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.attacks.training.split_spy import SplitSpy
from cutlayer.attacks.training.training_inversion import system
from cutlayer.attacks.training.view import TrainingView
from cutlayer.data.splits import Dataset
from cutlayer.defenses.detectors.base import Watched
from cutlayer.metrics.detection import Curve
from cutlayer.models.halves import SplitModel, copied
from cutlayer.registry import DETECTORS

SERVERS = ("honest", "random", "fsha", "spy")
FAST: Mapping[str, Any] = {"lr": 1e-3, "decoder_lr": 1e-3, "critic_lr": 1e-3, "penalty": 10.0, "capacity": "he-small"}
"""Options of the hijack for a few hundred steps."""


class Course(NamedTuple):
    """What one training has shown.

    Attributes:
        said: For each detector the steps at which it said something, and its suspicion.
        errors: Steps, and the mean squared error of the attack's images at each; empty without an attack.
    """

    said: dict[str, list[tuple[int, float]]]
    errors: list[tuple[int, float]]


def course(
    server: str,
    halves: SplitModel,
    train: Dataset,
    auxiliary: Dataset,
    classes: int,
    *,
    seed: int,
    steps: int,
    batch: int = 32,
    lr: float = 1e-3,
    every: int = 0,
    options: Mapping[str, Any] = FAST,
    detectors: Mapping[str, Mapping[str, Any]] | None = None,
) -> Course:
    """Train, and let every detector watch.

    Args:
        server: One of `SERVERS`.
        halves: The model before training; it stays as it is.
        train: The client's samples.
        auxiliary: Those of the server.
        classes: Number of classes.
        seed: Seed of the order, the labels and the attack.
        steps: Number of batches.
        batch: Samples in a batch.
        lr: Learning rate of Adam, for both.
        every: Number of steps between two measurements of the attack's images; 0 for none.
        options: Options of the hijack.
        detectors: Options of detectors that differ from the defaults.
    """
    both, rng = copied(halves), np.random.default_rng(seed)
    head, tail = both.head.train(), both.tail.train()
    first = next(head.parameters())
    optimizers = [torch.optim.Adam(part.parameters(), lr) for part in (head, tail)]
    inputs, labels = torch.from_numpy(train.inputs), torch.from_numpy(train.labels)
    hijack = system("fsha", **options)
    attack = {"fsha": hijack, "spy": SplitSpy(attack=hijack)}.get(server)
    if attack is not None:
        attack.begin(TrainingView(halves.input, halves.smashed, classes, auxiliary, seed))
    watching = {name: DETECTORS.make(name, **(detectors or {}).get(name, {})) for name in DETECTORS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        watching["split-out"].prepare(halves.head, halves.tail, inputs, labels, batch, lr)
    found = Course({name: [] for name in watching}, [])
    for step in range(steps):
        chosen = torch.from_numpy(rng.integers(len(inputs), size=batch))
        truth = labels[chosen]
        sent = watching["split-guard"].sent_labels(truth, classes, step, rng)
        smashed = head(inputs[chosen])
        leaf = smashed.detach().requires_grad_()
        forged = attack.step(leaf.detach(), sent, tail) if attack is not None else None
        learned = torch.from_numpy(rng.integers(classes, size=batch)) if server == "random" else sent
        for optimizer in optimizers:
            optimizer.zero_grad()
        functional.cross_entropy(tail(leaf), learned).backward()
        gradient = leaf.grad if forged is None else forged
        assert gradient is not None
        (of_first,) = torch.autograd.grad(smashed, first, gradient, retain_graph=True)
        watched = Watched(gradient, sent, of_first, truth)
        for name, detector in watching.items():
            if watched.is_fake and name != "split-guard":
                continue  # a gradient of wrong labels says nothing to the others
            if (suspicion := detector.watch(watched)) is not None:
                found.said[name].append((step, suspicion))
        if not watched.is_fake:
            smashed.backward(gradient)
            optimizers[0].step()
        optimizers[1].step()
        if every and attack is not None and step % every == every - 1:
            found.errors.append((step, error(attack.invert, head, inputs[:200])))
    return found


def error(invert: Callable[[Tensor], Tensor], head: nn.Module, images: Tensor) -> float:
    """Mean squared error of what an attack makes of images, as the head is now."""
    training = head.training
    head.eval()
    with torch.no_grad():
        smashed = head(images)
    head.train(training)
    return float((invert(smashed) - images).square().mean())


def auc(courses: Mapping[str, Sequence[Course]], server: str, detector: str) -> float:
    """The chance that a suspicion in the later half of a dishonest training is above one of an honest one."""
    both = [
        [value for run in courses[of] for _, value in run.said[detector][len(run.said[detector]) // 2 :]]
        for of in ("honest", server)
    ]
    scores, positive = np.array(both[0] + both[1]), np.arange(len(both[0]) + len(both[1])) >= len(both[0])
    return float(Curve(scores, positive).auc(np.ones((1, len(scores)), np.float32))[0])


def alarm(courses: Mapping[str, Sequence[Course]], server: str, detector: str) -> list[tuple[int, float] | None]:
    """The step of the alarm in each dishonest training, and the least error of the attack's images until then.

    The alarm is the first suspicion above all of the honest trainings; None where none is.
    """
    honest = max(value for run in courses["honest"] for _, value in run.said[detector])
    found: list[tuple[int, float] | None] = []
    for run in courses[server]:
        step = next((step for step, value in run.said[detector] if value > honest), None)
        least = min((e for at, e in run.errors if step is not None and at <= step), default=float("nan"))
        found.append(None if step is None else (step, least))
    return found
