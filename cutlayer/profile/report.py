"""From a plan to the files of its profile."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.load import load
from cutlayer.data.splits import Splits
from cutlayer.errors import ConfigError, SplitError
from cutlayer.network.profiles import networks_named
from cutlayer.profile import files, page
from cutlayer.profile.candidate import Candidate
from cutlayer.profile.connected import profile_connected
from cutlayer.profile.plan import DEFAULT_NETWORKS, Plan, shape
from cutlayer.profile.prepare import Train, prepare
from cutlayer.profile.quality import accuracy, leakage
from cutlayer.profile.recommend import Limits
from cutlayer.profile.record import record
from cutlayer.profile.run import Key, profile
from cutlayer.profile.settings import Settings
from cutlayer.registry import MODELS
from cutlayer.spec import Manifest, TensorSpec
from cutlayer.wire.codecs.packed import codec_named

if TYPE_CHECKING:
    from torch import nn

Say = Callable[[str], None]

IMAGES = "images.npy"
TORCH_HEAD = "head.safetensors"
RANDOM_IMAGES, DATA_IMAGES = 8, 64

MOST = 1_000_000
"""More of anything is a slip."""


def run_plan(plan: Plan, settings: Settings, limits: Limits, out: Path, say: Say) -> dict[str, Any]:
    """Measure, and write `profile.json`, `profile.csv` and `profile.html`.

    Args:
        plan: What.
        settings: How.
        limits: That a recommended cut has to keep.
        out: The folder; what an older profile left there is replaced.
        say: Told what is being done.

    Returns:
        The record, as `profile.json` holds it.

    Raises:
        CutlayerError: The plan cannot be carried out; nothing has been measured where the plan itself is wrong.
    """
    networks = networks_named(plan.network or DEFAULT_NETWORKS)
    spec = _check(plan, settings, limits, out)
    splits = None if plan.data is None else load(plan.data, plan.data_root, settings.seed)
    if splits is not None:
        if spec is not None and spec.shape != splits.input.shape:
            raise ConfigError(f"The images of {splits.name} are {splits.input}, not {spec}; leave out --input.")
        spec = splits.input
    candidates = prepare(
        plan.model, plan.cuts, spec, out, classes=len(splits.classes) if splits else plan.classes, data=plan.data,
        say=say, train=_trainer(plan, splits, settings.seed, say),
    )  # fmt: skip
    input = Manifest.load(candidates[0].folder).input
    images = _random(input, settings.seed) if splits is None else splits.test.images[:DATA_IMAGES]
    if images.shape[1:] != input.shape:
        raise SplitError(f"The images of {plan.data} are {splits and splits.input}, and the head takes {input}.")
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / IMAGES, images)
    if plan.connect is None:
        measured = profile(candidates, out / IMAGES, networks, settings, say)
    else:
        measured = profile_connected(candidates, out / IMAGES, plan.connect, settings, say)
    data = record(
        measured, settings, model=plan.model, limits=limits, notes=_notes(plan), server=plan.connect,
        quality={} if splits is None else _quality(plan, candidates, settings, splits, say),
        images=f"{len(images)} {plan.data or 'random'} images of {input}, one at a time",
    )  # fmt: skip
    files.save(out, data)
    page.save(out, data)
    return data


def _check(plan: Plan, settings: Settings, limits: Limits, out: Path) -> TensorSpec | None:
    """Refuse what cannot work before anything is measured; the shape of an image, where the plan says it."""
    for codec in settings.codecs:
        codec_named(codec)
    numbers = {"samples": settings.samples, "seconds": settings.seconds, "threads": settings.threads}
    for name, value in {**numbers, "server-threads": settings.server_threads, "classes": plan.classes}.items():
        if not 0 < value < MOST:
            raise ConfigError(f"--{name} must be above 0 and below {MOST:,}, not {value}.")
    if not 0 <= plan.epochs < MOST:
        raise ConfigError(f"--epochs must be 0 or more, not {plan.epochs}.")
    for given, option in ((plan.privacy, "--privacy"), (limits.accuracy, "--min-accuracy"), (plan.epochs, "--epochs")):
        if given and plan.data is None:
            raise ConfigError(f"{option} needs images that mean something: name a data set with --data.")
    if limits.leakage is not None and not plan.privacy:
        raise ConfigError("--max-leakage needs the attacks: add --privacy.")
    if plan.connect is not None and plan.network is not None:
        raise ConfigError("--connect measures the network that there is; leave out --network, which emulates others.")
    if settings.head == "torch" and not (Path(plan.model) / TORCH_HEAD).exists():
        raise SplitError(
            f"{plan.model} is cut as an ONNX file and has no head in torch; leave out --head torch, or name a folder "
            "that `cutlayer split` has written from a model by name."
        )
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise ConfigError(f"{out} cannot be written, because of {there}; name another folder with --out.")
    return None if plan.input is None else shape(plan.input)


def _trainer(plan: Plan, splits: Splits | None, seed: int, say: Say) -> Train | None:
    if splits is None or not plan.epochs:
        return None

    def train(model: nn.Module) -> None:
        from cutlayer import training

        say(f"training {plan.model} on {len(splits.train):,} {splits.name} images")
        training.train(model, splits.train, seed=seed, epochs=plan.epochs, progress=lambda epoch: say(f"  {epoch}"))

    return train


def _quality(
    plan: Plan, candidates: Sequence[Candidate], settings: Settings, splits: Splits, say: Say
) -> dict[Key, dict[str, Any]]:
    """Accuracy of every cut and codec, and what attackers get of it where that is asked for."""
    found: dict[Key, dict[str, Any]] = {}
    say(f"accuracy on {splits.name}")
    for candidate in candidates:
        found |= accuracy(candidate, settings.codecs, splits)
        if plan.privacy:
            for key, told in leakage(candidate, settings.codecs, splits, settings.seed, say).items():
                found[key] |= told
    return found


def _notes(plan: Plan) -> list[str]:
    notes = []
    if plan.model in set(MODELS) and not plan.epochs:
        notes.append("The weights are random: times are those of any weights, sizes after zstd and accuracy are not.")
    if plan.data is None:
        notes.append("The images are random noise, which zstd packs worse than photographs; --data sends real ones.")
    if plan.connect is None:
        notes.append("The server is this machine; --connect measures a real one.")
    if plan.privacy:
        notes.append("Leakage is to cheap attacks; a stronger one gets more: see `cutlayer run`.")
    return notes


def _random(input: TensorSpec, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((RANDOM_IMAGES, *input.shape), np.float32)
