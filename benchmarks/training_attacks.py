"""Servers that rebuild images while they train, beside the mean image, and what detectors say of them.

python benchmarks/training_attacks.py --data-root DIR                 a machine with a GPU, within 10 minutes
python benchmarks/training_attacks.py --size small --data-root DIR    a processor, about 15 minutes
python benchmarks/training_attacks.py --size digits                   a processor, without any data set, 3 minutes
python benchmarks/training_attacks.py --size tiny                     whether it runs

The published marks: FSHA on MNIST, mean squared error 0.0048 in [0, 1] after 9,500 steps (the authors' notebook); SDAR
on CIFAR-10, ResNet-20 at level 4, 0.0081, SSIM 0.804, after 20,000 (the authors' log). Level 4 is taken for the first
block of the second stage, layer2.0. FSHA's client there has a residual network of their own, ours ResNet-20 up to
layer2.2. The errors are those on the client's own training images.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor
from torch.nn import functional

from benchmarks.detection import FAST, SERVERS, alarm, auc, course
from cutlayer.attacks.training.training_inversion import TrainingInversion, system
from cutlayer.attacks.training.view import TrainingView
from cutlayer.cloud.training.attacking import drawn_anew
from cutlayer.data.load import load
from cutlayer.machine.compute import pick_device
from cutlayer.metrics.image import mse, ssim
from cutlayer.models import zoo
from cutlayer.models.halves import split
from cutlayer.registry import DETECTORS

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Victim:
    """One training and the attacks on it.

    Attributes:
        data: Name of the data set.
        model: Name of the model.
        cut: Where it is cut.
        attacks: Title, name of the system and options of each attack.
        steps: Number of batches.
        batch: Samples in a batch.
        lr: Learning rate of Adam, for client and server.
        share: Of the time, that of all attacks on this victim.
    """

    data: str
    model: str
    cut: str
    attacks: tuple[tuple[str, str, Options], ...]
    steps: int
    batch: int
    lr: float
    share: float = 1.0


@dataclass(frozen=True)
class Size:
    """What is measured.

    Attributes:
        victims: The trainings whose images are rebuilt.
        detectors: Data set, model, cut, seeds and steps of the trainings that detectors watch.
    """

    victims: tuple[Victim, ...]
    detectors: tuple[str, str, str, int, int] = ("mnist", "lenet", "pool1", 2, 150)
    hijack: Options = field(default_factory=lambda: {**FAST, "width": 16, "batch": 32})


_QUICK: Options = {"width": 16, "batch": 32, "capacity": "he-small", "decoder_lr": 2e-3}
_GAN: Options = {**_QUICK, "critic_lr": 1e-3, "image_critic_lr": 1e-4}
_PASSIVE = (
    ("naive", "naive", _QUICK),
    ("PCAT", "pcat", _QUICK),
    ("SDAR", "sdar", _GAN),
    ("FORA", "fora", {**_GAN, "lr": 1e-3}),
)
_HIJACK: Options = {**_QUICK, "lr": 3e-4, "decoder_lr": 1e-3, "critic_lr": 1e-3, "penalty": 10.0}
SIZES: Mapping[str, Size] = {
    "full": Size(
        (
            Victim(
                "mnist", "resnet20", "layer2.2", (("FSHA", "fsha", {"capacity": "res_normN4C64"}),), 10_000, 64, 1e-5
            ),
            Victim(
                "cifar10",
                "resnet20",
                "layer2.0",
                (
                    ("naive", "naive", {"batch": 128, "capacity": "res_normN4C64"}),
                    ("SDAR", "sdar", {"batch": 128, "capacity": "res_normN4C64"}),
                ),
                20_000,
                128,
                1e-3,
                2.0,
            ),
        ),
    ),
    "small": Size(
        (
            Victim("mnist", "lenet", "pool1", (_PASSIVE[0], _PASSIVE[2]), 400, 32, 1e-3),
            Victim("mnist", "lenet", "relu1", (("FSHA", "fsha", _HIJACK),), 800, 32, 1e-3),
        ),
    ),
    "digits": Size(
        (
            Victim("digits", "lenet", "pool1", _PASSIVE, 600, 32, 1e-3),
            Victim("digits", "lenet", "relu1", (("FSHA", "fsha", _HIJACK),), 1000, 32, 1e-3),
        ),
        ("digits", "lenet", "pool1", 3, 120),
    ),
    "tiny": Size(
        (
            Victim("digits", "lenet", "pool1", _PASSIVE, 4, 8, 1e-3),
            Victim("digits", "lenet", "relu1", (("FSHA", "fsha", _HIJACK),), 4, 8, 1e-3),
        ),
        ("digits", "lenet", "pool1", 1, 60),
    ),
}
POINTS = 6
"""Number of times at which the error is measured."""


def main(
    size: Literal["full", "small", "digits", "tiny"] = "full",
    data_root: Path | None = None,
    minutes: float = 9.0,
    detect: bool = True,
    rebuild: bool = True,
) -> None:
    """Print the error of each attack in its course, and the AUC of each detector.

    Args:
        size: What is measured.
        data_root: Folder of the data sets.
        minutes: The attacks stop after this time, where they have not ended before; detectors come first.
        detect: Let detectors watch.
        rebuild: Rebuild images.
    """
    torch.set_num_threads(1 if pick_device().type == "cpu" else torch.get_num_threads())
    chosen, end = SIZES[size], time.monotonic() + 60 * minutes
    if detect:
        watch(chosen, data_root)
    left = [(victim, attack) for victim in chosen.victims for attack in victim.attacks] if rebuild else []
    while left:
        (victim, (title, name, options)), *left = left
        shares = [victim.share, *(other.share for other, _ in left)]
        until = time.monotonic() + (end - time.monotonic()) * shares[0] / sum(shares)
        attacked(victim, title, system(name, **options), data_root, until)


def attacked(victim: Victim, title: str, attack: TrainingInversion, root: Path | None, until: float) -> None:
    """Train with a server that attacks, and print the error in its course."""
    device = pick_device()
    data = load(victim.data, root, 0)
    halves = split(zoo.build(victim.model, data.input, len(data.classes), seed=0), victim.cut, data.input)
    head, tail = halves.head.to(device).train(), halves.tail.to(device).train()
    # Another seed than that of the model: the attacker does not know the weights with which the client has begun.
    view = TrainingView(data.input, halves.smashed, len(data.classes), data.auxiliary, 1, device, drawn_anew(head))
    attack.begin(view)
    inputs, labels = (torch.from_numpy(array).to(device) for array in (data.train.inputs, data.train.labels))
    mean = torch.from_numpy(data.auxiliary.inputs).mean(0).to(device)
    print(
        f"{title}: {victim.data}, {victim.model} at {victim.cut} {halves.smashed.shape}, batch {victim.batch}, "
        f"{len(data.train):,} training and {len(data.auxiliary):,} auxiliary images; {attack!r}"
    )
    print(f"  mean image: {_scores(mean.expand(500, *mean.shape), inputs[:500])}")
    optimizers = [torch.optim.Adam(part.parameters(), victim.lr) for part in (head, tail)]
    rng, began = np.random.default_rng(0), time.monotonic()
    points = {round(k * victim.steps / POINTS) for k in range(1, POINTS + 1)}
    for step in range(1, victim.steps + 1):
        index = torch.from_numpy(rng.integers(len(inputs), size=victim.batch)).to(device)
        smashed = head(inputs[index])
        leaf = smashed.detach().requires_grad_()
        forged = attack.step(leaf.detach(), labels[index], tail)
        for optimizer in optimizers:
            optimizer.zero_grad()
        functional.cross_entropy(tail(leaf), labels[index]).backward()
        smashed.backward(leaf.grad if forged is None else forged)
        for optimizer in optimizers:
            optimizer.step()
        over = time.monotonic() > until
        if step in points or over:
            head.eval()
            with torch.no_grad():
                arrived = head(inputs[:500])
            head.train()
            took = time.monotonic() - began
            print(f"  step {step:6,}: {_scores(attack.invert(arrived), inputs[:500])}, {took:.0f} s", flush=True)
        if over:
            print(f"  stopped after {step:,} of {victim.steps:,} steps, for the time was over")
            return


def _scores(images: Tensor, originals: Tensor) -> str:
    return f"MSE {mse(images, originals).mean():.4f}, SSIM {ssim(images, originals).mean():.3f} (n = {len(images)})"


def watch(size: Size, root: Path | None) -> None:
    """Let detectors watch each server, and print how well they tell it from an honest one."""
    name, model, cut, seeds, steps = size.detectors
    data = load(name, root, 0)
    train, auxiliary = data.train.take(4000), data.auxiliary.take(4000)
    mean = float(np.square(train.inputs[:200] - auxiliary.inputs.mean(0)).mean())
    courses = {
        server: [
            course(
                server,
                split(zoo.build(model, data.input, len(data.classes), seed=seed), cut, data.input),
                train,
                auxiliary,
                len(data.classes),
                seed=seed,
                steps=steps,
                every=10,
                options=size.hijack,
            )
            for seed in range(seeds)
        ]
        for server in SERVERS
    }
    print(f"Detectors: {name}, {model} at {cut}, batch 32, {steps} steps, {seeds} seed(s); mean image {mean:.4f}")
    print(
        "AUC (median suspicion in the later half), and for fsha and spy the step of the alarm: the least MSE until it"
    )
    print(f"  {'honest':>22} " + " ".join(f"{server:>30}" for server in SERVERS[1:]))
    for detector in DETECTORS:
        cells = [f"({_median(courses['honest'], detector):.3f})"]
        for server in SERVERS[1:]:
            alarms = alarm(courses, server, detector)
            said = ", ".join("none" if found is None else f"{found[0]}: {found[1]:.3f}" for found in alarms)
            said = said.replace("nan", "not yet measured")
            cells.append(f"{auc(courses, server, detector):.3f} ({_median(courses[server], detector):.3f}) {said}")
        print(f"  {detector:12} " + " | ".join(cells), flush=True)


def _median(runs: list[Any], detector: str) -> float:
    return float(np.median([v for run in runs for _, v in run.said[detector][len(run.said[detector]) // 2 :]]))


if __name__ == "__main__":
    tyro.cli(main)
