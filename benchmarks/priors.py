"""What a prior finds at a deep cut, beside the same search without one: ResNet-20 on CIFAR-10 at layer3.2.

    python benchmarks/priors.py --weights resnet20-12fca82f.th                   a machine with a GPU
    python benchmarks/priors.py --weights resnet20-12fca82f.th --size small      a processor
    python benchmarks/priors.py --size tiny --data photos                        whether it runs

The attacker holds the auxiliary part of the data. Of the rows, "white-box" searches through the head without a prior;
those below it are the same search with one. A row that begins with another one shares what that one has fitted.
"""

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import tyro

from benchmarks.worst_case import Suite, attack_all
from cutlayer.attacks.view import Access
from cutlayer.data.load import load
from cutlayer.machine.compute import tune_allocator
from cutlayer.models import folder, zoo
from cutlayer.models.halves import split
from cutlayer.models.start import Start
from cutlayer.privacy.view import view_of
from cutlayer.split_folder import open_split

Size = Literal["full", "small", "tiny"]

FULL: dict[str, dict[str, Any]] = {
    "decoder": {"capacity": "res_normN8C128", "epochs": 60, "batch": 128, "lr": 2e-3, "varied": True},
    "white-box": {"iterations": 2000},
    "deep-prior": {"iterations": 2000},
    "generator": {"latent": 256, "width": 64, "prior_steps": 20_000, "iterations": 600, "starts": 4},
    "diffusion-prior": {"width": 128, "prior_epochs": 100, "steps_down": 100, "repetitions": 8, "draws": 8},
}
SMALL: dict[str, dict[str, Any]] = {
    "decoder": {"capacity": "conv_normN2C32", "varied": True},
    "white-box": {"iterations": 40, "lr": (0.1,), "tv": (0.1,)},
    "deep-prior": {"iterations": 100, "noise": (0.0,), "tv": (0.1,), "misfit": ("plain",)},
    "generator": {"latent": 128, "prior_steps": 1000, "iterations": 60, "pixels": 50},
    "map": {"iterations": 50, "rehearsal": 32},
    "learned-step": {"corrections": 1, "n_auxiliary": 2000, "epochs": 3},
    "diffusion-prior": {
        "prior_epochs": 5,
        "guidance": ("proximal",),
        "strength": (0.2,),
        "rate": (0.03, 0.1, 0.3),
        "misfit": ("plain",),
        "rehearsal": 16,
        "draws": 1,
    },
}
TINY: dict[str, dict[str, Any]] = {
    "decoder": {"capacity": "conv_normN0C16", "epochs": 1},
    "white-box": {"iterations": 2, "lr": (0.1,), "tv": (0.1,)},
    "deep-prior": {"iterations": 2, "widths": (4,), "noise": (0.0,), "tv": (0.1,), "misfit": ("plain",)},
    "generator": {"latent": 4, "width": 4, "prior_steps": 2, "iterations": 2, "pixels": 2},
    "map": {"iterations": 2, "rehearsal": 2, "misfit": ("plain",)},
    "learned-step": {"corrections": 1, "width": 4, "blocks": 1, "epochs": 1},
    "diffusion-prior": {"width": 4, "prior_epochs": 1, "steps_down": 2, "misfit": ("plain",), "draws": 1},
}
SIZES: dict[Size, dict[str, dict[str, Any]]] = {"full": FULL, "small": SMALL, "tiny": TINY}
"""The options of each attack, by its name, at each size."""


def suite(size: Size) -> Suite:
    """The attacks, by the label of their row."""
    options = SIZES[size]

    def begun(name: str, attack: str, inner: dict[str, Any], **more: Any) -> tuple[str, dict[str, Any]]:
        """An attack that begins with another one."""
        return name, {**options.get(name, {}), "attack": attack, "options": inner, **more}

    decoder, generator = options["decoder"], options["generator"]
    searched = begun("map", "decoder", decoder)
    return {
        "mean-image": ("mean-image", {}),
        "ridge": ("ridge", {}),
        "white-box": ("white-box", options["white-box"]),
        "deep-prior": ("deep-prior", options["deep-prior"]),
        "generator": ("generator", generator),
        "map of generator": begun("map", "generator", generator),
        "diffusion-prior from noise": begun("diffusion-prior", "mean-image", {}, strength=(1.0,)),
        "decoder": ("decoder", decoder),
        "map of decoder": searched,
        "learned-step of decoder": begun("learned-step", "decoder", decoder),
        "diffusion-prior of decoder": begun("diffusion-prior", "decoder", decoder),
        "learned-step of map": begun("learned-step", *searched),
    }


def main(
    weights: Path | None = None,
    model: str = "resnet20",
    data: str = "cifar10",
    data_root: Path | None = None,
    cut: str = "layer3.2",
    size: Size = "full",
    only: tuple[str, ...] = (),
    private: int = 200,
    auxiliary: int = 0,
    seed: int = 0,
) -> None:
    """Cut the victim and attack it.

    Args:
        weights: File of its weights; random ones if left out.
        model: The victim.
        data: The data set, of which the attacker holds the auxiliary part.
        data_root: Folder of the data sets.
        cut: The cut.
        size: How long the attacks train and search.
        only: Rows of the table; all if empty.
        private: Private images.
        auxiliary: The first so many of the attacker's images; 0 for all.
        seed: Seed of the data and of the attackers.
    """
    tune_allocator()
    parts = load(data, data_root, seed)
    parts = dataclasses.replace(parts, auxiliary=parts.auxiliary.take(auxiliary or None))
    classes = len(parts.classes)
    victim = zoo.build(model, parts.input, classes, seed, Start(str(weights.absolute()) if weights else ""))
    with TemporaryDirectory() as out:
        halves = split(victim, cut, parts.input)
        folder.save(Path(out) / "split", halves, model=model, classes=classes, defense={"name": "none"}, data=data)
        view = view_of(open_split(Path(out) / "split"), Access.WHITE_BOX, parts.auxiliary, seed=seed)
        every = suite(size)
        print(f"{model} at {cut}, {data}: {len(parts.auxiliary):,} images of the attacker, {private} private ones")
        attack_all(view, parts, {label: every[label] for label in only or every}, private, 1, seed)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
