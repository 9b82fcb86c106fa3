"""What searches for samples behind a gradient find, and how fast: the rows of the matching loop on real images.

    .venv/bin/python benchmarks/full_gradients.py --weights resnet20-12fca82f.th    a GPU, 10 minutes
    .venv/bin/python benchmarks/full_gradients.py --tiny                            seconds; its figures mean nothing
    .venv/bin/python benchmarks/full_gradients.py --parts dlg idlg --seeds 2        some parts, as on a processor

`speed` inverts the gradients of ResNet-20 on CIFAR-10 with its published weights by Inverting Gradients: 32 images in
one batch of independent problems, against one by one. The other parts are attacks; each prints the PSNR of every image,
their median, the share above 25 dB, labels and the time of an image. A part that fails says why, and the others go on;
the exit status is 1 then. A part that would take longer than its share of the time gets fewer iterations than its
source states, and its line says how many.
"""

import math
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.client import Made, observed
from cutlayer.attacks.gradients.matching import Matching
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.data.load import load
from cutlayer.data.splits import Dataset, Splits
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.machine.compute import pick_device
from cutlayer.models.start import Start
from cutlayer.models.zoo import build
from cutlayer.registry import UPDATE_ATTACKS


@dataclass(frozen=True)
class Part:
    """One attack on updates of one kind.

    Attributes:
        attack: Name of the attack.
        data: Data set, and the model that is attacked.
        model: Name of the model; without normalization where it is `dlg_lenet`, as in the papers.
        options: Options of the attack that differ from the published ones, and `iterations`.
        batch: Samples of an update.
        client: How the client makes its update.
        published: What the source says.
    """

    attack: str
    data: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 1
    client: Mapping[str, Any] = field(default_factory=dict)
    published: str = ""


LOCAL = {"local_steps": 8, "lr": 0.01}
PARTS: dict[str, Part] = {
    "dlg": Part("dlg", "mnist", "dlg_lenet", {"iterations": 30, "restarts": 4}),
    "idlg": Part("idlg", "mnist", "dlg_lenet", {"iterations": 30, "restarts": 4}),
    "convnet": Part("inverting-gradients", "cifar10", "convnet"),
    "convnet-4": Part("inverting-gradients", "cifar10", "convnet", batch=4),
    "agic": Part("agic", "cifar10", "convnet", {"iterations": 1000}, 8, LOCAL, "PSNR + 50 %, 5x faster (paper)"),
    "simulated": Part("agic", "cifar10", "convnet", {"iterations": 1000, "local": "simulate"}, 8, LOCAL),
    "inverting-gradients": Part("inverting-gradients", "cifar10", "resnet20"),
    "gradinversion": Part("gradinversion", "cifar10", "resnet20", {"iterations": 2000, "restarts": 4}),
    "hf-gradinv": Part("hf-gradinv", "cifar10", "resnet20", {"iterations": 3000}),
    "ggl": Part("ggl", "cifar10", "convnet", {"iterations": 500, "optimizer": "adam", "lr": 0.1}),
    "gias": Part("gias", "cifar10", "convnet", {"later_iterations": 2000}),
    "gifd": Part("gifd", "cifar10", "convnet"),
    "gi-nas": Part("gi-nas", "cifar10", "convnet", {"iterations": 3000, "candidates": 50}),
}
GPU = ("inverting-gradients", "gradinversion", "hf-gradinv", "gias", "gifd")
"""Parts that the time on a GPU is for, after `speed`."""


def victim(part: Part, splits: Splits, weights: Path | None, seed: int) -> nn.Module:
    """The model, with its published weights where there are any."""
    if part.model == "dlg_lenet":
        from cutlayer.models.dlg_lenet import dlg_lenet

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return dlg_lenet(splits.input, len(splits.classes)).eval()
    start = Start(weights=str(weights)) if weights is not None and part.model == "resnet20" else Start()
    return build(part.model, splits.input, len(splits.classes), seed=seed, start=start).eval()


def view(splits: Splits, seed: int, device: torch.device, auxiliary: int) -> UpdateView:
    """What the attacker has beside the updates: own samples, and nothing of the clients'."""
    own = Dataset(splits.auxiliary.inputs[:auxiliary], splits.auxiliary.labels[:auxiliary])
    return UpdateView(input=splits.input, classes=len(splits.classes), auxiliary=own, seed=seed, device=device)


def updates(part: Part, splits: Splits, model: nn.Module, n: int, seed: int) -> list[Made]:
    """The updates of `n` images, `part.batch` in each."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(splits.private))[: max(n, part.batch)]
    made = []
    for k in range(0, len(rows) - part.batch + 1, part.batch):
        chosen = rows[k : k + part.batch]
        inputs, labels = splits.private.inputs[chosen], splits.private.labels[chosen]
        pair = torch.from_numpy(inputs), torch.from_numpy(labels.astype(np.int64))
        made.append(observed(model, *pair, Unprotected(), rng, **part.client))
    return made


def psnr_db(found: Tensor, true: Tensor) -> list[float]:
    """Return the PSNR of each image, paired so that the sum of squared errors is the least."""
    from scipy.optimize import linear_sum_assignment

    errors = (found[:, None] - true[None]).square().flatten(2).mean(2)
    rows, columns = linear_sum_assignment(errors.numpy())
    return [float(-10 * errors[r, c].clamp(min=1e-12).log10()) for r, c in zip(rows, columns, strict=True)]


def timed(attack: UpdateAttack, seen: UpdateView, made: list[Made]) -> tuple[list[Recovered], float]:
    """What an attack finds, and the seconds that it takes."""
    if seen.device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    found = attack.invert(seen, [m.observation for m in made])
    if seen.device.type == "cuda":
        torch.cuda.synchronize()
    return found, time.perf_counter() - start


def sized(part: Part, seen: UpdateView, made: list[Made], seconds: float) -> Matching:
    """The attack with its own iterations, or with as many as take so long, estimated from a few."""

    def of(share: float) -> Matching:
        counts = {n: getattr(whole, n) for n in ("iterations", "later_iterations") if getattr(whole, n)}
        few = {name: max(2, int(share * count)) for name, count in counts.items()}
        attack: Matching = UPDATE_ATTACKS.make(part.attack, **{**part.options, **few})
        return attack

    whole: Matching = UPDATE_ATTACKS.make(part.attack, **part.options)
    if seconds == math.inf:
        return whole
    # Labels and generators take time once; the difference of two trials is what iterations take.
    spent = [timed(of(k / whole.iterations), seen, made)[1] for k in (2, 4, 12)]
    return of(min(1.0, seconds / max(1e-9, (spent[2] - spent[1]) * whole.iterations / 8)))


def run(
    name: str, part: Part, splits: Splits, device: torch.device, weights: Path | None, n: int, seed: int, seconds: float
) -> None:
    """Run one part within about so many seconds, and print its line."""
    model = victim(part, splits, weights, seed)
    made = updates(part, splits, model, n, seed)
    seen = view(splits, seed, device, 1000)
    attack = sized(part, seen, made, seconds)
    found, spent = timed(attack, seen, made)
    scores, right, total = list[float](), 0, 0
    for r, m in zip(found, made, strict=True):
        scores += psnr_db(r.inputs, m.inputs)
        total += len(m.labels)
        assert r.labels is not None
        counted = [torch.bincount(labels, minlength=len(splits.classes)) for labels in (r.labels, m.labels)]
        right += int(torch.minimum(*counted).sum())
    floor = [psnr_db(torch.from_numpy(splits.floor)[None].repeat(len(m.inputs), 1, 1, 1), m.inputs) for m in made]
    each = " ".join(f"{score:.1f}" for score in sorted(scores))
    print(
        f"{name}, seed {seed}: n={total} in {len(made)} updates, median {np.median(scores):.1f} dB, mean "
        f"{np.mean(scores):.1f} dB (mean image {np.median(np.concatenate(floor)):.1f}), above 25 dB "
        f"{np.mean(np.array(scores) > 25):.0%}, labels {right}/{total}, {attack.iterations:,} iterations, "
        f"{spent / total:.2f} s an image{f'; published: {part.published}' if part.published else ''}\n    {each}",
        flush=True,
    )


def speed(part: Part, splits: Splits, device: torch.device, weights: Path | None, n: int, steps: int) -> None:
    """Images a second of one batch of independent problems, against one by one, in turns."""
    made = updates(part, splits, victim(part, splits, weights, 0), n, 0)
    seen = view(splits, 0, device, 1000)
    rates = dict[str, list[float]](batch=[], single=[])
    timed(UPDATE_ATTACKS.make(part.attack, iterations=2), seen, made)  # warm-up
    for _ in range(3):
        for kind, together, few in (("batch", n, made), ("single", 1, made[: max(1, n // 8)])):
            _, seconds = timed(UPDATE_ATTACKS.make(part.attack, iterations=steps, together=together), seen, few)
            rates[kind].append(len(few) / seconds * steps / 4800)
    batch, single = (float(np.median(rates[kind])) for kind in ("batch", "single"))
    print(
        f"speed: Inverting Gradients on {part.model}, {n} images in one batch {batch:.3f} images/s of 4,800 steps, "
        f"one by one {single:.4f} images/s: {batch / single:.1f}x (medians of 3 in turns, from {steps} steps each)",
        flush=True,
    )


def main(
    data_root: Path | None = None,
    weights: Path | None = None,
    parts: tuple[str, ...] = ("speed", *GPU),
    n: int = 32,
    seeds: int = 1,
    device: str | None = None,
    minutes: float = 8.0,
    tiny: bool = False,
) -> None:
    """Run parts.

    Args:
        data_root: Folder of the data sets.
        weights: File of the published weights of ResNet-20.
        parts: Names of parts, see `PARTS`, and speed.
        n: Images of each part.
        seeds: Seeds of each part.
        device: Where to compute; the fastest device if not stated.
        minutes: Time for everything, of which each part gets an equal share of what is left.
        tiny: Run everything on a few digits with a few steps.
    """
    began, failed, where = time.perf_counter(), False, pick_device("cpu" if tiny else device)
    if tiny:
        parts, n, seeds, weights = ("speed", *PARTS), 1, 1, None
    opened = dict[str, Splits]()
    turns = [(name, seed) for name in parts for seed in range(1 if name == "speed" else seeds)]
    for done, (name, seed) in enumerate(turns):
        left_s = 60 * minutes - (time.perf_counter() - began)
        try:
            chosen = PARTS["inverting-gradients" if name == "speed" else name]
            data = "digits" if tiny else chosen.data
            splits = opened[data] if data in opened else opened.setdefault(data, load(data, data_root))
            part = small(chosen) if tiny else chosen
            if name == "speed":
                speed(part, splits, where, weights, n, 2 if tiny else 50)
            else:
                share_s = math.inf if tiny else max(1.0, left_s / (len(turns) - done))
                run(name, part, splits, where, weights, n, seed, share_s)
        except Exception:  # the others go on
            print(f"{name}, seed {seed} failed:\n{traceback.format_exc()}", flush=True)
            failed = True
    if failed:
        sys.exit(1)


def small(part: Part) -> Part:
    """The same with a few steps of everything."""
    few = {"iterations": 2, "later_iterations": 2, "prior_steps": 2, "latent": 8, "width": 4, "restarts": 1}
    few |= {"candidates": 2} if "candidates" in UPDATE_ATTACKS.options(part.attack) else {}
    return Part(
        part.attack,
        part.data,
        part.model.replace("resnet20", "convnet"),
        {**part.options, **few},
        min(part.batch, 2),
        part.client,
        part.published,
    )


if __name__ == "__main__":
    tyro.cli(main)
