"""The reference benchmark of the defenses: victims that people publish with, under one suite of attacks.

    python benchmarks/reference.py --resnet20 resnet20-12fca82f.th

ResNet-20 has its published CIFAR-10 weights (91.7 %, github.com/akamaster/pytorch_resnet_cifar10) and is cut after
layer1.2 and layer2.2. VGG-11-BN is trained here, on the training part, and cut at ResSFL's cut 4 and one stage deeper.
Every defense begins with the trained victim and makes as many epochs as the undefended baseline does. The attackers
hold 5,000 images, 200 private ones are rebuilt, and accuracy is that on 1,000 test images. Two processes with one
thread each share the runs. A second call continues an interrupted one. `--full` is the form for a GPU: all images, more
epochs, stronger attacks, n = 1,000.
"""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from safetensors.torch import save as serialize

from cutlayer import training
from cutlayer.data.load import load
from cutlayer.experiment import plan
from cutlayer.experiment.engines.local import Local
from cutlayer.experiment.grid import run_grid
from cutlayer.experiment.spec import Experiment
from cutlayer.machine.files import new_file
from cutlayer.machine.lock import only_one
from cutlayer.models import zoo
from cutlayer.models.start import Start
from cutlayer.report.runs.page import write
from cutlayer.report.runs.terminal import text

Table = dict[str, Any]
PROCESSES = 2
NORMALIZED = {"vgg11_bn": {"mean": [0.5] * 3, "std": [0.5] * 3}}
"""How the images are normalized of a victim that is trained here."""
CLAIM = "Each defense at two strengths, on victims that people publish with. What counts is the strongest attack."


@dataclass(frozen=True)
class Cut:
    """A victim at one cut, and the deeper cut to which PATROL moves."""

    model: str
    name: str
    deeper: str


CUTS = (
    Cut("resnet20", "layer1.2", "layer2.0"),
    Cut("resnet20", "layer2.2", "layer3.0"),
    Cut("vgg11_bn", "features.7", "features.10"),  # ResSFL's cut 4
    Cut("vgg11_bn", "features.14", "features.17"),
)


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        images: Training images of the defenses.
        epochs: Epochs of every defense and of the undefended baseline; even, because PATROL makes half of them twice.
        count: Test images.
        private: Private images.
        auxiliary: The attackers' images.
        releases: Releases that attackers average where a defense draws at random.
        trained: Options of the attackers' decoder.
        searched: Options of `map`.
        linear: Options of ridge regression.
        crafting: Options of Crafter.
        victim_epochs: Epochs in which VGG-11-BN is trained.
    """

    images: int
    epochs: int
    count: int
    private: int
    auxiliary: int
    releases: int
    trained: Table
    searched: Table
    linear: Table
    crafting: Table
    victim_epochs: int


QUICK = Size(
    images=5000, epochs=2, count=1000, private=200, auxiliary=5000, releases=16, victim_epochs=8,
    trained={"capacity": "conv_normN0C16", "epochs": 8, "lr": 2e-3, "batch": 32},
    searched={"iterations": 40, "rehearsal": 24}, linear={"n_auxiliary": 2500},
    crafting={"iterations": 8, "crafting_lr": 0.2, "prior_steps": 200},
)  # fmt: skip
FULL = Size(
    images=0, epochs=40, count=5000, private=1000, auxiliary=5000, releases=64, victim_epochs=60,
    trained={"capacity": "res_normN4C64", "epochs": 50, "lr": 2e-3, "batch": 32, "varied": True},
    searched={}, linear={}, crafting={},
)  # fmt: skip


def defenses(cut: Cut, size: Size, strength: int) -> list[Table]:
    """Every defense at one of its two strengths, 0 or 1, and beside the weak ones the baseline."""
    n, decoder = size.epochs, "conv_normN0C16"
    bottleneck = ("noRELU_C8S1", "noRELU_C4S2")[strength]
    return [
        *([] if strength else [{"name": "none", "epochs": n}]),
        {"name": "gaussian-noise", "sigma": (0.7, 2.8)[strength], "noise_aware_epochs": n},
        {"name": "patrol", "adversary": (3.0, 30.0)[strength], "deeper": cut.deeper, "epochs": n // 2},
        {"name": "ressfl", "bottleneck": bottleneck, "weight": 1.0, "threshold": 0.0, "decoder": decoder, "epochs": n},
        {"name": "crafter-distilled", "privacy": (3.0, 30.0)[strength], **size.crafting},
        {"name": "top-k", "sparsity": (0.9, 0.99)[strength], "epochs": n},
        {"name": "quantize", "bits": (2, 1)[strength], "epochs": n},
        {"name": "nopeek", "weight": (1.0, 10.0)[strength], "epochs": n},
        {"name": "cem", "sigma": (0.1, 0.4)[strength], "epochs": n},
        {"name": "certified-noise", "sigma": (0.2, 0.4)[strength], "head_lr_scale": 0.25, "epochs": n},
    ]


def suite(size: Size, defense: str) -> list[Table]:
    """The attacks on a defense: the same for all, and beside them those that its randomness or its zeros call for."""
    searched = {"attack": "decoder", "options": size.trained, **size.searched}
    parts = {"ridge": size.linear, "decoder": size.trained, "map": searched}
    attacks: list[Table] = [
        {"name": "mean-image"},
        *({"name": name, "title": name, **options} for name, options in parts.items()),
        {"name": "stack", "title": "stack", "attacks": [{"name": name, **parts[name]} for name in parts]},
    ]
    if defense in ("gaussian-noise", "cem", "certified-noise"):
        n = size.releases
        attacks += [
            {"name": "averaging", "title": f"averaging {k}, ridge", "n_releases": k, "options": size.linear}
            for k in (n // 4, n)
        ]
        mean = {"attack": "decoder", "options": {**size.trained, "n_queries": 1}, "n_releases": n}
        attacks += [{"name": "averaging", "title": f"averaging {n}, decoder", **mean}]
        title = f"map of averaging {n}, decoder"
        attacks += [{"name": "map", "title": title, "attack": "averaging", "options": mean, **size.searched}]
    if defense == "top-k":
        attacks += [{"name": "mask-aware", "title": "mask-aware", "options": size.trained}]
    return attacks


def experiments(size: Size, weights: dict[str, Path], seed: int) -> Iterator[Experiment]:
    """All experiments: the weak strength at every cut, then the strong one."""
    for strength, cut in itertools.product((0, 1), CUTS):
        for defense in defenses(cut, size, strength):
            yield from plan.parse({
                "name": "reference", "claim": CLAIM, "data": "cifar10", "cut": cut.name, "seed": seed,
                "model": {"name": cut.model, "weights": str(weights[cut.model]), **NORMALIZED.get(cut.model, {})},
                "training": {"images": size.images},
                "measure": {"count": size.count, "private": size.private, "auxiliary": size.auxiliary},
                "defense": [defense], "attack": suite(size, defense["name"]),
            })  # fmt: skip


def main(
    resnet20: Path,
    out: Path = Path("runs/reference"),
    full: bool = False,
    seed: int = 0,
    data_root: Path | None = None,
) -> None:
    """Run the benchmark, then print the table and write the report.

    Args:
        resnet20: File of the published weights.
        out: Folder of the records.
        full: The form for a GPU.
        seed: Seed of data, training and attacks.
        data_root: Folder of CIFAR-10; CUTLAYER_DATA or ./data if left out.
    """
    size, start = FULL if full else QUICK, time.monotonic()

    def say(line: str) -> None:
        print(line, flush=True)

    weights = {"resnet20": resnet20, "vgg11_bn": out / f"vgg11_bn-{size.victim_epochs}-{seed}.safetensors"}
    train_vgg(weights["vgg11_bn"], size, seed, data_root, say)
    planned, engine = list(experiments(size, weights, seed)), Local(workers=PROCESSES)
    results, failed = run_grid(planned, out, engine, resume=True, data_root=data_root, say=say)
    if failed:
        sys.exit("A run failed, with the message above; call this again to run the rest.")
    print(f"{(time.monotonic() - start) / 60:.1f} minutes for the runs that were not finished before")
    print(text(results))
    print(f"The report is {write(out)}")


def train_vgg(path: Path, size: Size, seed: int, data_root: Path | None, say: Callable[[str], None]) -> None:
    """Train VGG-11-BN on all training images, unless it was trained before."""
    with only_one(path, say=say):
        if path.exists():
            return
        data = load("cifar10", data_root, seed)
        say(f"training vgg11_bn on {len(data.train):,} images, epochs: {size.victim_epochs}")
        model = zoo.build(
            "vgg11_bn",
            data.input,
            len(data.classes),
            seed,
            Start("", *(tuple(values) for values in NORMALIZED["vgg11_bn"].values())),
        )
        training.train(model, data.train, epochs=size.victim_epochs, seed=seed, flip=True)
        # A plan states the normalization beside the weights, which are those of the network alone.
        weights = {key: value for key, value in model.state_dict().items() if not key.startswith("normalize.")}
        with new_file(path) as file:
            file.write(serialize(weights))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
