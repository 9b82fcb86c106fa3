"""What attacks show of the classes of a network at the sizes of their papers: faces of CelebA at 64x64, and CIFAR-10.

    .venv/bin/python benchmarks/full_class_level.py --weights resnet20-12fca82f.th --data-root DIR    a GPU, 10 minutes
    .venv/bin/python benchmarks/full_class_level.py --tiny                        seconds; its figures mean nothing
    .venv/bin/python benchmarks/full_class_level.py --parts plg-mi gmi            some parts

`deep-inversion` inverts ResNet-20 with its published weights for CIFAR-10, 2,000 steps of batches of 256, as published.
The others attack a network that knows people of CelebA; the attacker holds photographs of other people of CelebA, or
(`ffhq-...`) those of FFHQ. Each part prints what two judges say of the pictures, beside the floor (the attacker's own
photographs that the victim is surest of) and the ceiling (real photographs). A part whose data do not lie in the folder
of data says so and is left out. A part that fails says why, and the others go on; the exit status is 1 then.
"""

import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from cutlayer import training
from cutlayer.attacks.answers.view import ClassView, Reply, Service
from cutlayer.data.load import load
from cutlayer.data.splits import Dataset, Splits
from cutlayer.data.withheld import ClassData, withheld
from cutlayer.errors import DataError
from cutlayer.machine.compute import pick_device
from cutlayer.models import zoo
from cutlayer.models.start import Start
from cutlayer.privacy.judges import Judges, ceiling, class_judges, judged
from cutlayer.registry import CLASS_ATTACKS

SHOWN = ("acc@1", "second", "agreed", "distance gain", "diversity", "real diversity")


@dataclass(frozen=True)
class Part:
    """One attack on one victim.

    Attributes:
        attack: Name of the attack.
        data: ``cifar10``, or ``celeba`` for people of it.
        other: Data set of the attacker's samples, where it is another one.
        options: Options of the attack that differ from the defaults, which are for small images.
    """

    attack: str
    data: str = "celeba"
    other: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


GAN = {"latent": 128, "width": 32, "prior_steps": 20_000}
SEARCHED = {"steps": 600, "lr": 0.1, "crop": 0.8, "rotate": 5.0, "flip": True, "draws": 2, "candidates": 5}
PARTS: dict[str, Part] = {
    "deep-inversion": Part("deep-inversion", "cifar10", options={"bn": 100.0}),
    "deep-inversion, lighter statistics": Part("deep-inversion", "cifar10"),
    "gmi": Part("gmi", options=GAN | {"steps": 1500}),
    "kedmi": Part("kedmi", options=GAN | {"steps": 2400}),
    "vmi": Part("vmi", options=GAN | {"steps": 2400}),
    "plg-mi": Part("plg-mi", options=GAN | SEARCHED),
    "plg-mi without classes": Part("plg-mi", options=GAN | SEARCHED | {"prior": "wgan"}),
    "lomma": Part("lomma", options=GAN | {"steps": 2400}),
    "ppa": Part("ppa", options=GAN),
    "if-gmi": Part("if-gmi", options=GAN),
    "dmmia": Part("dmmia", options=GAN),
    "patch-mi": Part("patch-mi", options=GAN),
    "diff-mi": Part("diff-mi", options={"width": 64, "train_steps": 20_000}),
    "ffhq-gmi": Part("gmi", other="ffhq", options=GAN | {"steps": 1500}),
    "ffhq-plg-mi": Part("plg-mi", other="ffhq", options=GAN | SEARCHED),
}
GPU = (
    "deep-inversion",
    "deep-inversion, lighter statistics",
    "plg-mi",
    "plg-mi without classes",
    "kedmi",
    "gmi",
    "lomma",
)
"""Parts that the time on a GPU is for."""


@dataclass(frozen=True)
class Attacked:
    """A victim with its judges.

    Attributes:
        data: Its classes, and the attacker's samples.
        model: The network, in evaluation mode on the device of the attacker.
        accuracy: Share of right answers on samples of its classes that it was not trained on.
        judges: They know the classes of both.
    """

    data: ClassData
    model: nn.Module
    accuracy: float
    judges: Judges


def people(splits: Splits, n: int, other: Dataset | None, most: int) -> ClassData:
    """The people with the most photographs as classes: `n` of the training part, and four times as many strangers.

    Args:
        splits: Photographs whose groups are people, none of whom is in two parts.
        n: People that the victim knows.
        other: The attacker's photographs, of strangers without names; None for those of the auxiliary part.
        most: The attacker's photographs, at most.
    """
    known, numbers = _most_photographed(splits.train, n)
    last = np.array([(numbers[:k] == numbers[k]).sum() % 5 == 4 for k in range(len(numbers))])
    own: list[Dataset] = []
    for rows in (~last, last):
        part = splits.train.at(known[rows]).loaded()[0]
        own.append(replace(part, labels=numbers[rows], groups=None, attributes=None))
    if other is None:
        found, strangers = _most_photographed(splits.auxiliary, 4 * n)
        found, strangers = found[:most], strangers[:most]
        samples = splits.auxiliary.at(found).loaded()[0]
    else:
        samples = other.take(most).loaded()[0]
        strangers = np.zeros(len(samples), np.int64)
    auxiliary = replace(samples, labels=n + strangers, groups=None, attributes=None)
    names = [f"person {k}" for k in range(n)] + [f"stranger {k}" for k in range(int(strangers.max()) + 1)]
    return ClassData(splits.name, tuple(names), n, own[0], own[1], auxiliary, auxiliary.take(0))


def _most_photographed(part: Dataset, n: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The positions of the photographs of the `n` people with the most, and the number of each one's person."""
    if part.groups is None:
        raise DataError("These samples do not say who is in them; take photographs with identities, such as celeba.")
    names, counts = np.unique(part.groups, return_counts=True)
    chosen = names[np.argsort(-counts, kind="stable")[:n]]
    positions = np.flatnonzero(np.isin(part.groups, chosen))
    order = {name: number for number, name in enumerate(chosen.tolist())}
    return positions, np.array([order[name] for name in part.groups[positions].tolist()])


def classes(part: Part, data_root: Path | None, n: int, most: int, seed: int, *, tiny: bool) -> ClassData:
    """The classes of a part.

    Raises:
        DataError: The data do not lie in the folder of data.
    """
    if tiny:
        return withheld(load("digits", None, seed), None if part.data == "cifar10" else ["0", "1", "2"])
    splits = load(part.data, data_root, seed)
    if part.data == "cifar10":
        return withheld(splits.loaded())
    other = load(part.other, data_root, seed, otherwise=splits.input.shape).auxiliary if part.other else None
    return people(splits, n, other, most)


def attacked(data: ClassData, weights: Path | None, seed: int, device: torch.device, *, tiny: bool) -> Attacked:
    """The victim and its judges: ResNet-20 with published weights on data whose classes both sides know."""
    judges = class_judges(data, seed)
    if data.shared and weights is not None:
        model = zoo.build("resnet20", data.input, data.n_private, start=Start(weights=str(weights)))
    else:
        n = data.n_private if data.shared else data.n_private + 1
        model = zoo.build("lenet_bn" if tiny else "resnet18", data.input, n, seed)
        training.train(model, data.train, epochs=1 if tiny else 60, seed=seed, lr=2e-3, flip=not tiny, device=device)
    right, total = training.accuracy(model, data.held_out)
    return Attacked(data, model.to(device).eval().requires_grad_(False), right / total, judges)


def view(of: Attacked, seed: int, device: torch.device) -> ClassView:
    """What a thief of the network may touch."""

    def ask(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return log_softmax(of.model(inputs.to(device)).float(), 1).cpu()

    return ClassView(
        input=of.data.input,
        classes=of.data.n_private if of.data.shared else of.data.n_private + 1,
        targets=tuple(range(of.data.n_private)),
        auxiliary=of.data.auxiliary,
        reply=Reply.WEIGHTS,
        seed=seed,
        device=device,
        _service=Service(ask),
        _models=(of.model,),
    )


def run(name: str, attack: str, options: dict[str, Any], of: Attacked, seen: ClassView, k: int) -> None:
    """Run one part, and print its lines."""
    nearest = CLASS_ATTACKS.make("nearest-auxiliary").represent(seen, k)
    start = time.perf_counter()
    pictures = CLASS_ATTACKS.make(attack, **options).represent(seen, k)
    seconds = time.perf_counter() - start
    real = ceiling(of.data, seen.targets, k)
    print(
        f"{name}, seed {seen.seed}: the victim is right about {of.accuracy:.1%}; {attack}, {seconds:.0f} s", flush=True
    )
    for title, shown in (("attack", pictures), ("floor", nearest), ("ceiling", real)):
        metrics = judged(shown, seen.targets, of.judges, nearest=nearest).metrics
        said = ", ".join(f"{m} {metrics[m].value:.2f}" for m in SHOWN)
        low, high = metrics["agreed"].low, metrics["agreed"].high
        print(
            f"    {title:8} n={len(seen.targets)}x{shown.shape[1]} {said} (agreed {low:.2f} to {high:.2f})", flush=True
        )


def main(
    data_root: Path | None = None,
    weights: Path | None = None,
    parts: tuple[str, ...] = GPU,
    n: int = 100,
    k: int = 5,
    seeds: int = 1,
    auxiliary: int = 30_000,
    device: str | None = None,
    tiny: bool = False,
) -> None:
    """Run parts.

    Args:
        data_root: Folder of the data sets.
        weights: File of the published weights of ResNet-20.
        parts: Names of parts, see `PARTS`.
        n: People that the victim knows.
        k: Pictures of each class.
        seeds: Seeds of each part.
        auxiliary: The attacker's photographs, at most.
        device: Where to compute; the fastest device if not stated.
        tiny: Run everything on a few digits with a few steps.
    """
    failed, where = False, pick_device("cpu" if tiny else device)
    if tiny:
        parts, k, seeds, weights = tuple(PARTS) if parts == GPU else parts, 2, 1, None
    victims = dict[tuple[str, str, int], Attacked]()
    views = dict[tuple[str, str, int], ClassView]()
    for name, seed in ((name, seed) for name in parts for seed in range(seeds)):
        part = PARTS[name]
        key = part.data, "" if tiny else part.other, seed
        try:
            if key not in victims:
                if part.data == "cifar10" and weights is None and not tiny:
                    raise DataError("it takes --weights, the file of the published weights of ResNet-20")
                data = classes(part, data_root, n, auxiliary, seed, tiny=tiny)
                victims[key] = attacked(data, weights, seed, where, tiny=tiny)
                views[key] = view(victims[key], seed, where)
            options = {**part.options, **(few(part.attack) if tiny else {})}
            run(name, part.attack, options, victims[key], views[key], k)
        except DataError as error:
            print(f"{name}, seed {seed} is left out: {error}", flush=True)
        except Exception:  # the others go on
            print(f"{name}, seed {seed} failed:\n{traceback.format_exc()}", flush=True)
            failed = True
    if failed:
        sys.exit(1)


def few(attack: str) -> dict[str, Any]:
    """Options for a few steps of everything."""
    small = {"steps": 2, "prior_steps": 4, "train_steps": 2, "later_steps": 2, "last_steps": 2, "student_steps": 2}
    small |= {"starts": 4, "latent": 4, "width": 4, "batch": 4, "candidates": 1, "draws": 1, "votes": 1, "layers": 1}
    options = CLASS_ATTACKS.options(attack)
    return {name: value for name, value in small.items() if name in options and options[name].default}


if __name__ == "__main__":
    tyro.cli(main)
