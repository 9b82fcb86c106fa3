"""The victim: a model trained on the training part, hardened by its defense, and cut into a split folder."""

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import fx

from cutlayer import training
from cutlayer.data.borrowed import borrowed
from cutlayer.data.load import load, other_size
from cutlayer.data.splits import Splits
from cutlayer.data.text import Tokenizer
from cutlayer.defenses.base import Defense, check_kind
from cutlayer.defenses.none import Undefended
from cutlayer.errors import ConfigError, SplitError
from cutlayer.experiment.spec import Experiment, file_digest
from cutlayer.machine.lock import only_one
from cutlayer.models import folder, zoo
from cutlayer.models.cut import find_cut
from cutlayer.models.cuts import cuts
from cutlayer.models.halves import SplitModel, join, split
from cutlayer.models.kept import Say, remembered
from cutlayer.models.last_layer import last_layer, standardized
from cutlayer.models.manifest import Manifest
from cutlayer.models.start import RANDOM
from cutlayer.models.text_folder import tokenizer_of
from cutlayer.own import in_folder
from cutlayer.privacy.identification import CANDIDATES
from cutlayer.records.files import delete
from cutlayer.registry import DATASETS, MODELS, defense_from
from cutlayer.spec import TensorSpec, input_shape
from cutlayer.split_folder import open_split


def load_data(experiment: Experiment, data_root: Path | None) -> Splits:
    """The data of an experiment, images of one's own in the size that the experiment or its model states.

    Raises:
        ConfigError: The experiment states a size, and the data have another one of their own.
    """
    shape = input_shape(experiment.input) if experiment.input else None
    preferred = MODELS.options(experiment.model).get("input")
    otherwise = preferred.default.shape if preferred and isinstance(preferred.default, TensorSpec) else None
    setup, images = experiment.measure, experiment.training.images
    probed = [entry.images for entry in experiment.probes]
    most = {"private": max(setup.private, CANDIDATES, *probed), "test": setup.count}
    most |= {part: n for part, n in (("train", images), ("auxiliary", setup.auxiliary)) if n}
    tokenizer = tokenizer_of(experiment.model)
    data = load(
        experiment.data, data_root, experiment.seed, shape=shape, otherwise=otherwise, most=most, tokenizer=tokenizer
    )
    if shape and data.input.shape != shape:
        raise other_size(data, experiment.input)
    data.check_full()
    if setup.auxiliary_data:
        few = {"auxiliary": setup.auxiliary} if setup.auxiliary else {}
        spoken = Tokenizer(data.tokenizer, f"the tokenizer of {data.name}") if data.tokenizer else None
        other = load(
            setup.auxiliary_data, data_root, experiment.seed, otherwise=data.input.shape, most=few, tokenizer=spoken
        )
        data = replace(data, usual=data.floor, auxiliary=borrowed(other, data))
    return data


def build(experiment: Experiment, data: Splits) -> fx.GraphModule:
    """The untrained model; one with the weights of a folder as it is there where the plan has no epochs."""
    if in_folder(experiment.model) and not experiment.training.epochs:
        return zoo.build(experiment.model, data.input, None, experiment.seed, experiment.start)
    if not data.classes:
        raise ConfigError(
            f"The {data.modality.one[1]} of {data.name} have no classes, which a model is trained on: "
            f"{data.modality.labelled}."
        )
    return zoo.build(experiment.model, data.input, len(data.classes), experiment.seed, experiment.start)


def check_cut(experiment: Experiment, data: Splits) -> None:
    """Raise `SplitError`, which names the model and the near cuts, when the model cannot be cut there."""
    try:
        find_cut(cuts(build(experiment, data), data.input), experiment.cut)
    except SplitError as error:
        raise SplitError(f"{MODELS.label(experiment.model)} on {DATASETS.label(experiment.data)}: {error}") from error


def check_defense(experiment: Experiment, data: Splits) -> None:
    """Raise `ConfigError` when the defense does not protect the kind of inputs that the data hold."""
    check_kind(defense_from({"name": experiment.defense.name, **experiment.defense.options}), data.modality)


def shown(experiment: Experiment, data: Splits) -> Splits:
    """The data, with no more images for training and for the attackers than the experiment allows."""
    n_train, n_auxiliary = experiment.training.images or None, experiment.measure.auxiliary or None
    return replace(data, train=data.train.take(n_train), auxiliary=data.auxiliary.take(n_auxiliary))


def train(experiment: Experiment, data: Splits, say: Say) -> fx.GraphModule:
    """A model trained as the experiment says."""
    model, how = build(experiment, data), experiment.training
    if not how.epochs:
        weights = Path(experiment.start.weights or in_folder(experiment.model)).name
        say(f"{MODELS.label(experiment.model)}, {f'with the weights of {weights}' if weights else 'not trained'}")
        return model
    name, inputs = MODELS.label(experiment.model), f"{DATASETS.label(data.name)} {data.modality.one[1]}"
    if in_folder(experiment.model) and not how.whole:
        say(f"training the classifier of {name} on {len(data.train):,} {inputs}")
        layer, vectors = last_layer(model, data.input, data.train)
        with standardized(layer, vectors) as samples:
            training.train(layer, samples, epochs=how.epochs, seed=experiment.seed, lr=how.lr, batch=how.batch)
        return model
    say(f"training {name} on {len(data.train):,} {inputs}")
    training.train(
        model, data.train, epochs=how.epochs, seed=experiment.seed, lr=how.lr, batch=how.batch, flip=how.flip
    )
    return model


def cached(experiment: Experiment, runs: Path) -> Path:
    """The file of the trained model, which experiments with equal training share."""
    data = DATASETS.identity(experiment.data) + (f" {experiment.input}" if experiment.input else "")
    model = MODELS.identity(experiment.model)
    how = {key: value for key, value in asdict(experiment.training).items() if key != "whole" or value}
    determinants: list[Any] = [data, model, experiment.seed, how]
    if experiment.start != RANDOM:
        weights = file_digest(Path(experiment.start.weights)) if experiment.start.weights else ""
        determinants.append(asdict(experiment.start) | {"weights": weights})
    key = hashlib.sha256(json.dumps(determinants, sort_keys=True).encode()).hexdigest()[:12]
    return runs / "models" / f"{key}.safetensors"


def trained(experiment: Experiment, data: Splits, runs: Path, say: Say) -> fx.GraphModule:
    """The trained model, from `runs/models/` where an equal one was trained before."""
    return remembered(
        cached(experiment, runs), lambda: build(experiment, data), lambda: train(experiment, data, say), say
    )


def further(
    experiment: Experiment, model: fx.GraphModule, data: Splits, epochs: int, runs: Path, say: Say
) -> fx.GraphModule:
    """The trained model after as many epochs more, without a defense: what a defense that trains is compared with.

    Args:
        experiment: The experiment whose model it is, and whose seed trains it.
        model: The trained model, which stays as it is.
        data: The data, of which `train` is used.
        epochs: Further passes over the training part; with 0 the model itself is returned.
        runs: Folder of the records, which keeps the result for other experiments with the same model.
        say: Called when there is work to do.
    """
    if not epochs:
        return model

    def more() -> fx.GraphModule:
        say(f"training the undefended model further, epochs: {epochs}, as many as the defense has")
        return join(Undefended(epochs=epochs).harden(split(model, experiment.cut, data.input), data, experiment.seed))

    path = longer(cached(experiment, runs), epochs)
    return remembered(path, lambda: build(experiment, data), more, say)


def longer(path: Path, epochs: int) -> Path:
    """The file of the model of that file after as many epochs more."""
    return path.with_name(f"{path.stem}-{epochs}-more{path.suffix}")


def whole(folder: Path, say: Say) -> bool:
    """Whether a split folder is there with all its files as they were written; a damaged one is said, and deleted."""
    if not (folder.exists() or folder.is_symlink()):
        return False
    try:
        split = open_split(folder)
        for name in split.manifest.files:
            split.file(name)
        return True
    except SplitError as error:
        say(f"a split folder is damaged, and is made again: {error}")
        delete(folder)
        return False


def export(
    experiment: Experiment, model: fx.GraphModule, data: Splits, out: Path, say: Say, runs: Path | None = None
) -> Manifest:
    """Cut the model, harden it with the experiment's defense, and write the split folder.

    Experiments whose defense leaves the halves as they are share one export in `runs/models/`, where `runs` is given.
    """
    undefended = split(model, experiment.cut, data.input)
    halves, defense = hardened(experiment, undefended, data, say)
    shared = None
    if runs is not None and halves is undefended:
        weights = cached(experiment, runs)
        shared = weights.with_name(f"{weights.stem}-{halves.cut}")
    save = saving(experiment, model, data, halves)
    with contextlib.ExitStack() as held:
        if shared is not None:
            held.enter_context(only_one(shared.with_name(f"{shared.name}.export"), say=say))
        if shared is None or not whole(shared, say):
            say(f"cut at {halves.cut}, smashed {halves.smashed}; exporting head and tail")
            if shared is not None:
                save(shared, defense={"name": "none"})
    return save(out, defense=_description(experiment), learned=defense.learned, exported=shared)


def hardened(experiment: Experiment, undefended: SplitModel, data: Splits, say: Say) -> tuple[SplitModel, Defense]:
    """The halves as the experiment's defense changes them, and the defense with what it has learned."""
    defense = defense_from(_description(experiment))
    if experiment.defense.name != "none":
        say(f"hardening with {experiment.defense.label}")
    return defense.harden(undefended, data, experiment.seed), defense


def saving(experiment: Experiment, model: fx.GraphModule, data: Splits, halves: SplitModel) -> Callable[..., Manifest]:
    """`cutlayer.models.folder.save` for these halves: it takes the folder, and the defense with what it has learned."""
    classes = zoo.n_classes(model, data.input) if in_folder(experiment.model) else len(data.classes)
    return functools.partial(
        folder.save, split=halves, model=experiment.model, classes=classes, data=experiment.data,
        tokenizer=data.tokenizer,
    )  # fmt: skip


def _description(experiment: Experiment) -> dict[str, Any]:
    return {"name": experiment.defense.name, **experiment.defense.options}
