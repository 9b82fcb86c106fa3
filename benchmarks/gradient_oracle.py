"""The matching loop against the package breaching: same model, gradients, start and settings; PSNR, time of an image.

    python benchmarks/gradient_oracle.py [--data-root DIR] [--images 8] [--steps 300] [--model dlg_lenet]

Both run Inverting Gradients (cosine, total variation, Adam on signs, the same schedule) from the same noise, with the
labels given. The package inverts image by image, as it does for gradients that have nothing to do with each other; the
loop takes all of them in one batch, and once image by image. They take turns, and the medians of three are compared.

breaching 0.1.2 (MIT license, https://github.com/JonasGeiping/breaching) pins old packages, so it is no dependency:
install it with ``pip install --no-deps breaching==0.1.2 hydra-core`` and omegaconf in an environment of its own that
also has cutlayer. Where it is missing, this says so and ends.
"""

import contextlib
import io
import logging
import statistics
import time
import warnings
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tyro
from torch import Tensor, nn

from benchmarks.full_gradients import Part, psnr_db, updates, victim, view
from cutlayer.attacks.gradients.client import Made
from cutlayer.attacks.gradients.inverting_gradients import InvertingGradients
from cutlayer.attacks.gradients.matching import source
from cutlayer.attacks.gradients.priors import Pixels, Units
from cutlayer.attacks.gradients.view import CPU, UpdateView
from cutlayer.data.load import load
from cutlayer.nets import _torchvision

TURNS = 3


class _FromStandard(nn.Module):
    """Standard units to the range of images; breaching searches in standard units."""

    def __init__(self, units: Units) -> None:
        super().__init__()
        self.units = units

    def forward(self, x: Tensor) -> Tensor:
        return self.units.mean + self.units.std * x


def oracle(model: nn.Module, made: list[Made], seen: UpdateView, steps: int) -> list[Tensor]:
    """What breaching finds, image by image."""
    import breaching

    units = Units.of(seen)
    settings = [f"optim.max_iterations={steps}", f"optim.callback={steps}"]
    with contextlib.redirect_stdout(io.StringIO()):
        options = breaching.get_attack_config("invertinggradients", overrides=settings)
    wrapped = nn.Sequential(OrderedDict(units=_FromStandard(units), model=model))
    found = []
    for number, one in enumerate(made):
        metadata = SimpleNamespace(
            shape=seen.input.shape,
            mean=units.mean.flatten().tolist(),
            std=units.std.flatten().tolist(),
            modality="vision",
        )
        gradient = one.observation.update
        payload = {"parameters": list(wrapped.parameters()), "buffers": list(wrapped.buffers()), "metadata": metadata}
        sent = {
            "gradients": [gradient[name] for name, _ in model.named_parameters()],
            "buffers": None,
            "metadata": {"num_data_points": 1, "labels": one.labels, "local_hyperparams": None},
        }
        attacker = breaching.attacks.prepare_attack(wrapped, nn.CrossEntropyLoss(), options)
        pixels = Pixels((1, *seen.input.shape), units, standard=True, box=True)
        start = pixels.begin({}, source(seen.seed, number, 0))["pixels"]
        answer, _ = attacker.reconstruct([payload], [sent], {}, initial_data=start)
        found.append((units.mean + units.std * answer["data"]).clamp(0, 1))
    return found


def main(
    data_root: Path | None = None, images: int = 8, steps: int = 300, model: str = "convnet", seeds: int = 1
) -> None:
    """Compare both.

    Args:
        data_root: Folder of the data sets.
        images: Images, each with a gradient of its own.
        steps: Steps of each search.
        model: Model whose gradients they are, of CIFAR-10; breaching takes color images alone.
        seeds: Seeds of model, images and start.
    """
    assert _torchvision.models
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import breaching
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed, so there is nothing to compare with; see the head of this file.")
        return
    assert breaching
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    splits = load("cifar10", data_root)
    part = Part("inverting-gradients", "", model)
    for seed in range(seeds):
        network = victim(part, splits, None, seed)
        made = updates(part, splits, network, images, seed)
        seen = replace(view(splits, seed, CPU, 500), _labels=tuple(m.labels for m in made))

        def ours(together: int, made: list[Made] = made, seen: UpdateView = seen) -> list[Tensor]:
            attack = InvertingGradients(iterations=steps, labels="known", together=together)
            return [r.inputs for r in attack.invert(seen, [m.observation for m in made])]

        ways: dict[str, Any] = {
            "breaching": lambda made=made, seen=seen, network=network: oracle(network, made, seen, steps),
            "one by one": lambda: ours(1),
            "one batch": lambda: ours(images),
        }
        seconds = {name: list[float]() for name in ways}
        answers = dict[str, list[Tensor]]()
        for _ in range(TURNS):
            for name, way in ways.items():
                begin = time.perf_counter()
                answers[name] = way()
                seconds[name].append((time.perf_counter() - begin) / images)
        first = statistics.median(seconds["breaching"])
        for name in ways:
            scores = [psnr_db(x, m.inputs)[0] for x, m in zip(answers[name], made, strict=True)]
            each = statistics.median(seconds[name])
            print(
                f"{model}, seed {seed}, {name}: n={images}, median {statistics.median(scores):.2f} dB, "
                f"{each:.2f} s an image of {steps} steps, {first / each:.2f}x ({TURNS} in turns: "
                f"{', '.join(f'{s:.2f}' for s in seconds[name])})",
                flush=True,
            )


if __name__ == "__main__":
    tyro.cli(main)
