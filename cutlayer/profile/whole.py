"""From a plan to the files of its profile."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.load import load
from cutlayer.data.splits import Splits
from cutlayer.errors import ConfigError, SplitError
from cutlayer.network.profiles import networks_named
from cutlayer.profile.advice import Limits, keeps
from cutlayer.profile.candidate import Candidate
from cutlayer.profile.check import check
from cutlayer.profile.connected import profile_connected
from cutlayer.profile.emulated import profile
from cutlayer.profile.plan import DEFAULT_NETWORKS, Plan, Settings
from cutlayer.profile.prepare import Train, prepare
from cutlayer.profile.quality import accuracy, leakage
from cutlayer.profile.record import record
from cutlayer.profile.sampling import Key
from cutlayer.records import profile as files
from cutlayer.registry import MODELS
from cutlayer.report.profiles import page
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import open_split

if TYPE_CHECKING:
    from torch import nn

Say = Callable[[str], None]

IMAGES = "images.npy"
RANDOM_IMAGES, DATA_IMAGES = 8, 64


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
    with _room(out):
        return _run(plan, settings, limits, out, say)


@contextlib.contextmanager
def _room(out: Path) -> Iterator[None]:
    """A disk that is full is the user's to mend."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise ConfigError(
            f"{out} cannot be written: {str(error.strerror).lower()}; free some space, or name another folder "
            "with --out."
        ) from None


def _run(plan: Plan, settings: Settings, limits: Limits, out: Path, say: Say) -> dict[str, Any]:
    networks = networks_named(DEFAULT_NETWORKS if plan.network is None else plan.network)
    spec = check(plan, settings, limits, networks, out)
    splits = None if plan.data is None else load(plan.data, plan.data_root, settings.seed)
    if splits is not None:
        if spec is not None and spec.shape != splits.input.shape:
            raise ConfigError(f"The images of {splits.name} are {splits.input}, not {spec}; leave out --input.")
        spec = splits.input
    candidates = prepare(
        plan.model, plan.cuts, spec, out, classes=len(splits.classes) if splits else plan.classes, data=plan.data,
        say=say, train=_trainer(plan, splits, settings.seed, say),
    )  # fmt: skip
    split = open_split(candidates[0].folder)
    manifest, whole = split.manifest, split.has_tail
    input = manifest.input
    judged = splits is not None and whole and manifest.classes == len(splits.classes)
    if limits.accuracy is not None and not judged:
        raise ConfigError(
            f"{plan.model} gives {manifest.classes} numbers, and {plan.data} has other classes, so that no answer is "
            "right; leave out --min-accuracy, or name the data that it was trained on."
            if whole
            else f"{plan.model} has no tail here, so that its answers are not known; leave out --min-accuracy."
        )
    images = _random(input, settings.seed) if splits is None else splits.test.inputs[:DATA_IMAGES]
    if images.shape[1:] != input.shape:
        raise SplitError(f"The images of {plan.data} are {splits and splits.input}, and the head takes {input}.")
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / IMAGES, images)
    quality: dict[Key, dict[str, Any]] = {}
    if plan.connect is None:
        # Before the networks, whose time is for what may be recommended.
        if splits is not None:
            quality = _quality(plan, candidates, settings, splits, judged, say)
        measured = profile(
            candidates, out / IMAGES, networks, settings, say, lambda key: keeps(limits, quality.get(key, {}))
        )
    else:
        measured = profile_connected(candidates, out / IMAGES, plan.connect, settings, say)
        if splits is not None:
            quality = _quality(plan, candidates, settings, splits, judged, say)
    data = record(
        measured, settings, model=plan.model, limits=limits, notes=_notes(plan, judged), server=plan.connect,
        quality=quality,
        images=f"{len(images)} {plan.data or 'random'} images of {input}, one at a time",
    )  # fmt: skip
    files.save(out, data)
    page.save(out, data)
    return data


def _trainer(plan: Plan, splits: Splits | None, seed: int, say: Say) -> Train | None:
    if splits is None or not plan.epochs:
        return None

    def train(model: nn.Module) -> None:
        from cutlayer import training

        say(f"training {plan.model} on {len(splits.train):,} {splits.name} images")
        training.train(model, splits.train, seed=seed, epochs=plan.epochs, progress=lambda epoch: say(f"  {epoch}"))

    return train


def _quality(
    plan: Plan, candidates: Sequence[Candidate], settings: Settings, splits: Splits, judged: bool, say: Say
) -> dict[Key, dict[str, Any]]:
    """Accuracy of every cut and codec, where the classes are the data's, and what attackers get if asked for."""
    found: dict[Key, dict[str, Any]] = {}
    for candidate in candidates:
        if judged:
            say(f"accuracy of {candidate.cut} on {splits.name}")
            found |= accuracy(candidate, settings.codecs, splits)
        if plan.privacy:
            for key, told in leakage(candidate, settings.codecs, splits, settings.seed, say).items():
                found[key] = found.get(key, {}) | told
    return found


def _notes(plan: Plan, judged: bool) -> list[str]:
    notes = []
    if plan.model in set(MODELS) and not plan.epochs:
        notes.append(
            "The weights are random: times are those of any weights, sizes after zstd, accuracy and leakage are not."
        )
    if plan.data is not None and not judged:
        notes.append(f"No accuracy: {plan.model} has no tail here, or does not answer with the classes of {plan.data}.")
    if plan.data is None:
        notes.append("The images are random noise, which zstd packs worse than photographs; --data sends real ones.")
    if plan.connect is None:
        notes.append("The server is this machine; --connect measures a real one.")
    if plan.privacy:
        notes.append("Leakage is to cheap attacks; a stronger one gets more: see `cutlayer run`.")
    return notes


def _random(input: TensorSpec, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((RANDOM_IMAGES, *input.shape), np.float32)
