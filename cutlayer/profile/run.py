"""Run a plan: check it, prepare its cuts, measure them, and write the files of the profile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.load import load, other_size
from cutlayer.data.modality import inputs_like
from cutlayer.data.splits import Splits
from cutlayer.data.text import Tokenizer
from cutlayer.errors import ConfigError, CutlayerError, SplitError, WriteError
from cutlayer.machine.lock import only_one
from cutlayer.models.manifest import MANIFEST
from cutlayer.models.text_folder import tokenizer_of
from cutlayer.network.profiles import Network, networks_named
from cutlayer.profile import connected, emulated
from cutlayer.profile.advice import keeps
from cutlayer.profile.check import check_plan
from cutlayer.profile.lengths import measure_lengths, stream
from cutlayer.profile.plan import DEFAULT_NETWORKS, Plan, Say, Settings
from cutlayer.profile.prepare import Candidate, Train, own_shape, prepare
from cutlayer.profile.quality import accuracy, leakage
from cutlayer.profile.record import record
from cutlayer.profile.sampling import Key
from cutlayer.profile.taken import Taken
from cutlayer.progress import told, track
from cutlayer.records.files import write_array
from cutlayer.records.profile import Limits, Profile, Quality
from cutlayer.records.profile_files import save
from cutlayer.registry import DATASETS, MODELS
from cutlayer.report.profiles import page
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import open_split
from cutlayer.tensors import random_batch

if TYPE_CHECKING:
    from torch import nn

IMAGES, SENTENCES = "images.npy", "sentences.npy"
RANDOM_IMAGES, DATA_IMAGES = 8, 64


def run_plan(
    plan: Plan, settings: Settings, limits: Limits, out: Path, say: Say, show_incomplete: Callable[[Profile], None]
) -> Profile:
    """Measure, and write the record, `profile.csv` and `profile.html` to `out`, replacing those of an older profile.

    Where it ends early, by an error or by Ctrl-C, the files are written with what was measured until then, if that is
    one cut at least, the record says that it is incomplete, and `show_incomplete` receives it before the error goes on.
    It also receives a whole profile that cannot be written.

    Raises:
        CutlayerError: The plan cannot be carried out; nothing was measured where the plan itself is wrong.
        BusyError: Another process writes a profile to `out`.
    """
    with told(say):
        networks = networks_named(DEFAULT_NETWORKS if plan.network is None else plan.network)
        spec = check_plan(plan, settings, limits, networks, out)
        # Two at a time would not only write to one folder, but also slow each other down: nobody waits for the other.
        with only_one(out, inside=True):
            return _run(plan, settings, limits, networks, spec, out, say, show_incomplete)


def _run(
    plan: Plan,
    settings: Settings,
    limits: Limits,
    networks: Sequence[Network],
    spec: TensorSpec | None,
    out: Path,
    say: Say,
    show_incomplete: Callable[[Profile], None],
) -> Profile:
    splits = None if plan.data is None else _data(plan.data, plan, spec, settings.seed, say)
    if splits is not None:
        if spec is not None and spec.shape != splits.input.shape:
            raise other_size(splits, spec)
        spec = splits.input
    classes = (splits and len(splits.classes)) or plan.classes  # images without classes leave the number to the plan
    candidates = prepare(
        plan.model, plan.cuts, spec, out, classes=classes, data=plan.data, say=say,
        tokenizer=splits.tokenizer if splits else spoken.text if (spoken := _tokenizer(plan)) else "",
        train=_trainer(plan, splits, settings.seed, say), start=plan.start, given=plan.given,
        confinement=plan.confinement,
    )  # fmt: skip
    judged = _is_judged(plan, candidates[0], limits, splits)
    images, sent = _images(plan, candidates[0], settings, splits)
    write_array(out / IMAGES, images)
    if plan.tokens:
        said: NDArray[Any] = images if splits is None else splits.test.inputs
        write_array(out / SENTENCES, stream(said, max(plan.tokens), RANDOM_IMAGES))
    taken, quality = Taken(candidates), dict[Key, Quality]()

    def known(ended: str | None = None) -> Profile:
        figures = connected.computed(taken, plan.connect) if plan.connect else emulated.computed(taken, networks)
        return record(figures, plan, settings, limits, quality, images=sent, notes=_notes(plan, judged), ended=ended)

    try:
        if plan.connect is None:
            # Quality comes first: the time of the networks is for the choices that may be recommended.
            quality |= _quality(plan, candidates, settings, splits, judged, say)

            def may_recommend(key: Key) -> bool:
                return keeps(limits, quality.get(key, Quality()))

            emulated.measure_emulated(taken, out / IMAGES, networks, settings, say, may_recommend)
            for candidate in track(candidates if plan.tokens else [], "sentences of each length"):
                say(f"{candidate.cut} with sentences of {', '.join(map(str, plan.tokens))} tokens")
                taken.lengths[candidate.cut] = measure_lengths(candidate, out / SENTENCES, plan, settings)
        else:
            connected.measure_connected(taken, out / IMAGES, plan.connect, settings, say)
            quality |= _quality(plan, candidates, settings, splits, judged, say)
    except BaseException as error:
        if taken.cuts or taken.remote:
            profile = known(_ended(error, len(taken.cuts), len(candidates)))
            show_incomplete(profile)
            _save(out, profile)
        raise
    profile = known()
    try:
        _save(out, profile)
    except WriteError:
        show_incomplete(profile)
        raise
    return profile


def _data(name: str, plan: Plan, spec: TensorSpec | None, seed: int, say: Say) -> Splits:
    """The images, those of a path in the size that the plan states, or else in that of the model."""
    splits = load(
        name,
        plan.data_root,
        seed,
        shape=None if spec is None else spec.shape,
        tokenizer=_tokenizer(plan),
        otherwise=own_shape(plan.model, plan.given, plan.confinement)
        if DATASETS.is_path(name) and spec is None
        else None,
    )
    for note in splits.notes:
        say(note)
    if plan.epochs and not splits.classes:
        raise ConfigError(f"The {splits.modality.one[1]} of {name} have no classes to train on; leave out --epochs.")
    return splits


def _tokenizer(plan: Plan) -> Tokenizer | None:
    """The tokenizer that the model has of its own; None for one that has none."""
    if (Path(plan.model) / MANIFEST).exists():
        return open_split(Path(plan.model)).tokenizer
    return tokenizer_of(plan.model)


def _save(out: Path, profile: Profile) -> None:
    save(out, profile)
    page.save(out, profile)


def _ended(error: BaseException, n_cuts: int, of: int) -> str:
    """Why a profile is incomplete, in a sentence."""
    if isinstance(error, KeyboardInterrupt):
        reason = f"It was stopped by {str(error) or 'Ctrl-C'}"
    else:
        kind = "" if isinstance(error, CutlayerError) else f"{type(error).__name__}: "
        reason = f"It failed: {kind}{error}".rstrip(".")
    return f"{reason}; {n_cuts} of {of} cuts had been measured until then."


def _is_judged(plan: Plan, candidate: Candidate, limits: Limits, splits: Splits | None) -> bool:
    """Whether the model answers with the classes of the data, so that an answer is right or wrong."""
    split = open_split(candidate.folder)
    plain = split.manifest.ends is None
    judged = splits is not None and plain and split.has_tail and split.manifest.classes == len(splits.classes)
    if limits.accuracy is not None and not judged:
        raise ConfigError(
            f"{plan.model} has {split.manifest.classes} outputs, and {plan.data} has other classes, so that no answer "
            "is right; leave out --min-accuracy, or name the data set that the model was trained on."
            if split.has_tail
            else f"{plan.model} has no tail here, so that its answers are unknown; leave out --min-accuracy."
        )
    return judged


def _images(
    plan: Plan, candidate: Candidate, settings: Settings, splits: Splits | None
) -> tuple[NDArray[np.float32], str]:
    """The inputs that are sent, and what they are in words."""
    manifest = open_split(candidate.folder).manifest
    input, inputs = manifest.input, manifest.data_inputs
    if splits is None:
        shapes = ", ".join(f"{name} {spec}" for name, spec in inputs.items())
        images = random_batch(inputs, RANDOM_IMAGES, settings.seed)
        if len(inputs) > 1:
            return images, f"{len(images)} random requests of {shapes}, one at a time"
    else:
        images = splits.test.inputs[:DATA_IMAGES]
    if len(inputs) > 1 or images.shape[1:] != input.shape:
        raise SplitError(f"The inputs of {plan.data} are {splits and splits.input}, and the head takes {input}.")
    return images, f"{len(images)} {plan.data or 'random'} {inputs_like(input)}, one at a time"


def _trainer(plan: Plan, splits: Splits | None, seed: int, say: Say) -> Train | None:
    if splits is None or not plan.epochs:
        return None

    def train(model: nn.Module) -> None:
        from cutlayer import training

        say(f"training {plan.model} on {len(splits.train):,} {DATASETS.label(splits.name)} {splits.modality.one[1]}")
        training.train(model, splits.train, seed=seed, epochs=plan.epochs)

    return train


def _quality(
    plan: Plan, candidates: Sequence[Candidate], settings: Settings, splits: Splits | None, judged: bool, say: Say
) -> dict[Key, Quality]:
    """Accuracy of every choice where the model answers with the classes of the data, and leakage if the plan asks."""
    quality: dict[Key, Quality] = {}
    if splits is None:
        return quality
    for candidate in track(candidates, "accuracy and leakage of the cuts"):
        if judged:
            say(f"accuracy of {candidate.cut} on {DATASETS.label(splits.name)}")
            quality |= accuracy(candidate, settings.codecs, splits)
        if plan.privacy:
            for key, found in leakage(candidate, settings.codecs, splits, settings.seed, say).items():
                known = quality.get(key, Quality())
                quality[key] = replace(found, accuracy=known.accuracy, whole_accuracy=known.whole_accuracy)
    return quality


def _notes(plan: Plan, judged: bool) -> list[str]:
    notes = []
    if MODELS.takes(plan.model) and not (plan.epochs or plan.start.weights or MODELS.is_own(plan.model)):
        notes.append(
            "The weights are random: times are those of any weights, sizes after zstd, accuracy and leakage are not."
        )
    if plan.data is not None and not judged:
        notes.append(f"No accuracy: {plan.model} has no tail here, or does not answer with the classes of {plan.data}.")
    if plan.data is None:
        notes.append(
            "The sentences are random tokens; --data sends real ones."
            if plan.tokens
            else "The inputs are random noise, which zstd packs worse than real ones; --data sends real ones."
        )
    if plan.connect is None:
        notes.append("The server is this machine; --connect measures a real one.")
    if plan.privacy:
        notes.append("Leakage is to cheap attacks; a stronger one gets more: see `cutlayer run`.")
        notes.append(
            "Identified is how often the private input is picked from all candidates: by a watch list, which encodes "
            "them with the device's own half, or by its reconstruction, whichever does better."
        )
    return notes
