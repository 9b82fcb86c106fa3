"""Run a plan: check it, prepare its cuts, measure them, and write the files of the profile."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cutlayer.data.load import load
from cutlayer.data.splits import Splits
from cutlayer.errors import ConfigError, SplitError
from cutlayer.network.profiles import networks_named
from cutlayer.profile.advice import keeps
from cutlayer.profile.check import check_plan
from cutlayer.profile.connected import measure_connected
from cutlayer.profile.emulated import measure_emulated
from cutlayer.profile.plan import DEFAULT_NETWORKS, Plan, Say, Settings
from cutlayer.profile.prepare import Candidate, Train, prepare
from cutlayer.profile.quality import accuracy, leakage
from cutlayer.profile.record import record
from cutlayer.profile.sampling import Key
from cutlayer.records.profile import Limits, Profile, Quality
from cutlayer.records.profile_files import save
from cutlayer.registry import MODELS
from cutlayer.report.profiles import page
from cutlayer.split_folder import open_split

if TYPE_CHECKING:
    from torch import nn

IMAGES = "images.npy"
RANDOM_IMAGES, DATA_IMAGES = 8, 64


def run_plan(plan: Plan, settings: Settings, limits: Limits, out: Path, say: Say) -> Profile:
    """Measure, and write the record, `profile.csv` and `profile.html` to `out`, replacing those of an older profile.

    Raises:
        CutlayerError: The plan cannot be carried out; nothing was measured where the plan itself is wrong.
    """
    try:
        return _run(plan, settings, limits, out, say)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise ConfigError(
            f"{out} cannot be written: {str(error.strerror).lower()}; free some space, or name another folder "
            "with --out."
        ) from None


def _run(plan: Plan, settings: Settings, limits: Limits, out: Path, say: Say) -> Profile:
    networks = networks_named(DEFAULT_NETWORKS if plan.network is None else plan.network)
    spec = check_plan(plan, settings, limits, networks, out)
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
    manifest, input = split.manifest, split.manifest.input
    judged = splits is not None and split.has_tail and manifest.classes == len(splits.classes)
    if limits.accuracy is not None and not judged:
        raise ConfigError(
            f"{plan.model} has {manifest.classes} outputs, and {plan.data} has other classes, so that no answer is "
            "right; leave out --min-accuracy, or name the data set that the model was trained on."
            if split.has_tail
            else f"{plan.model} has no tail here, so that its answers are unknown; leave out --min-accuracy."
        )
    if splits is None:
        images = np.random.default_rng(settings.seed).random((RANDOM_IMAGES, *input.shape), np.float32)
    else:
        images = splits.test.inputs[:DATA_IMAGES]
    if images.shape[1:] != input.shape:
        raise SplitError(f"The images of {plan.data} are {splits and splits.input}, and the head takes {input}.")
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / IMAGES, images)
    if plan.connect is None:
        # Quality comes first: the time of the networks is for the choices that may be recommended.
        quality = _quality(plan, candidates, settings, splits, judged, say)
        measurements = measure_emulated(
            candidates, out / IMAGES, networks, settings, say, lambda key: keeps(limits, quality.get(key, Quality()))
        )
    else:
        measurements = measure_connected(candidates, out / IMAGES, plan.connect, settings, say)
        quality = _quality(plan, candidates, settings, splits, judged, say)
    sent = f"{len(images)} {plan.data or 'random'} images of {input}, one at a time"
    profile = record(measurements, plan, settings, limits, quality, images=sent, notes=_notes(plan, judged))
    save(out, profile)
    page.save(out, profile)
    return profile


def _trainer(plan: Plan, splits: Splits | None, seed: int, say: Say) -> Train | None:
    if splits is None or not plan.epochs:
        return None

    def train(model: nn.Module) -> None:
        from cutlayer import training

        say(f"training {plan.model} on {len(splits.train):,} {splits.name} images")
        training.train(model, splits.train, seed=seed, epochs=plan.epochs)

    return train


def _quality(
    plan: Plan, candidates: Sequence[Candidate], settings: Settings, splits: Splits | None, judged: bool, say: Say
) -> dict[Key, Quality]:
    """Accuracy of every choice where the model answers with the classes of the data, and leakage if the plan asks."""
    quality: dict[Key, Quality] = {}
    if splits is None:
        return quality
    for candidate in candidates:
        if judged:
            say(f"accuracy of {candidate.cut} on {splits.name}")
            quality |= accuracy(candidate, settings.codecs, splits)
        if plan.privacy:
            for key, gain in leakage(candidate, settings.codecs, splits, settings.seed, say).items():
                quality[key] = replace(quality.get(key, Quality()), leakage=gain)
    return quality


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
