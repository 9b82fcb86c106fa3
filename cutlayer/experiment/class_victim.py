"""The victim of a study of class-level inversion: a network that knows some classes, trained under a defense."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import log_softmax

from cutlayer.data.borrowed import borrowed
from cutlayer.data.load import load
from cutlayer.data.splits import NO_CLASS, Dataset, Splits
from cutlayer.data.withheld import ClassData, refuse_shared, withheld
from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.defenses.surgery.drawn import Drawn
from cutlayer.errors import ConfigError
from cutlayer.experiment import study_plan, victim
from cutlayer.experiment.class_rounds import averaged
from cutlayer.experiment.class_spec import CUT, Placed, Victim
from cutlayer.experiment.spec import Experiment, Measure, Training
from cutlayer.metrics.interval import exact_proportion
from cutlayer.models import zoo
from cutlayer.models.cut import find_cut
from cutlayer.models.cuts import cuts
from cutlayer.models.halves import SplitModel, join, split
from cutlayer.models.kept import Say, remembered
from cutlayer.models.start import RANDOM
from cutlayer.options import MANY
from cutlayer.records.run import Estimate
from cutlayer.registry import ANSWER_DEFENSES, MODELS, defense_from
from cutlayer.tables import UNDEFENDED, Named

_BATCH = 500
STRANGER = "unknown"
"""The class of all of the attacker's samples, where their data set names none."""


@dataclass(frozen=True)
class ClassVictim:
    """A trained victim.

    Attributes:
        data: Its classes, and the attacker's samples.
        model: ``(N, *input.shape)`` to logits ``(N, classes)``, in evaluation mode, without what protects smashed data.
        answers: Name and options of what protects its answers; ``none`` where nothing does.
        defense: The same, ready to answer.
        accuracy: Of its replies, on samples of its classes that it was not trained on.
        seed: Seed of the victim.
        halves: The device's and the server's half, hardened, where the plan names a cut; their join is the model. None
            as well where the network draws as it computes.
        cut_defense: What protects smashed data, ready to protect; that named ``none`` where nothing does.
        described: That defense, as a split folder describes it.
        experiment: The model and its training, for files that are made of it.
        runs: Folder of all runs.
        rounds: The network after each round, first to last, where clients have trained it together; none otherwise.
    """

    data: ClassData
    model: nn.Module
    answers: Named
    defense: AnswerDefense
    accuracy: Estimate
    seed: int
    halves: SplitModel | None
    cut_defense: Any
    described: dict[str, Any]
    experiment: Experiment
    runs: Path
    rounds: tuple[nn.Module, ...] = ()

    @property
    def classes(self) -> int:
        """Number of its outputs: its classes, and one that it was never trained on."""
        return self.data.n_private + 1


def load_classes(of: Victim, seed: int, data_root: Path | None) -> ClassData:
    """The victim's classes and the attacker's samples.

    Raises:
        ConfigError: The samples have no classes, or the attacker holds samples of classes that are withheld from it.
        DataError: See `cutlayer.data.load.load`.
    """
    splits = victim.load_data(_experiment(of, seed, 0), data_root)
    if not splits.classes or (splits.train.labels == NO_CLASS).any():
        raise ConfigError(
            f"The samples of {splits.name} have no classes, which the victim is trained on; store labels beside them."
        )
    data = withheld(splits, of.withhold or None)
    if of.auxiliary_data:
        other = load(of.auxiliary_data, data_root, seed, otherwise=splits.input.shape)
        data = _strangers(data, other, splits)
        if of.withhold:
            refuse_shared(data)
    auxiliary = data.auxiliary.take(of.auxiliary or None)
    return replace(data, train=data.train.take(of.training.images or None), auxiliary=auxiliary)


def _strangers(data: ClassData, other: Splits, splits: Splits) -> ClassData:
    """The same victim, before an attacker with the samples of another data set, whose classes go by their names.

    From the training part of that data set, which the attacker does not hold, judges learn the attacker's classes.
    """
    given = other.classes or (STRANGER,)
    names = [*data.classes[: data.n_private], *(name for name in given if name not in data.classes[: data.n_private])]
    number = np.array([names.index(name) for name in given])

    def numbered(part: Dataset) -> Dataset:
        samples = borrowed(replace(other, auxiliary=part), splits)
        labels = number[part.labels] if other.classes else np.full(len(samples), data.n_private)
        return replace(samples, labels=labels)

    auxiliary, unseen = numbered(other.auxiliary), numbered(other.train)
    strange = np.isin(unseen.labels, auxiliary.labels) & (unseen.labels >= data.n_private)
    return replace(data, classes=tuple(names), auxiliary=auxiliary, others=unseen.at(np.flatnonzero(strange)))


def check_model(of: Victim, data: ClassData) -> None:
    """Raise where the model cannot take the inputs, or cannot be cut as the victim states; the near names are told.

    Raises:
        CutlayerError: See `cutlayer.models.zoo.build` and `cutlayer.models.cut.find_cut`.
    """
    model = zoo.build(of.model, data.input, data.n_private + 1, 0)
    if of.cut:
        find_cut(cuts(model, data.input), of.cut)


def train_victim(
    of: Victim, seed: int, epochs: int, placed: Placed, data: ClassData, runs: Path, say: Say
) -> ClassVictim:
    """The victim with this defense, from `runs/models/` where an equal one was trained before.

    Raises:
        ConfigError: The defense cannot be had with this model or these data.
        SplitError: The model has no such cut.
    """
    named, at_cut = placed.of, placed.at == CUT
    answers, cut_description = (UNDEFENDED, named) if at_cut else (named, UNDEFENDED)
    defense: AnswerDefense = ANSWER_DEFENSES.make(answers.name, **answers.options)
    experiment, classes = _experiment(of, seed, epochs), data.n_private + 1
    teaches = defense.on and (
        type(defense).train is not AnswerDefense.train or type(defense).rebuilt is not AnswerDefense.rebuilt
    )

    def built() -> nn.Module:
        model = zoo.build(of.model, data.input, classes, seed, of.start)
        return defense.rebuilt(model, data.input, classes, seed)

    def taught() -> nn.Module:
        model = built()
        how = f" with {named.label}" if teaches else ""
        say(f"training {MODELS.label(of.model)} on {len(data.train):,} samples of {data.n_private} classes{how}")
        defense.train(model, data.train, data.auxiliary, epochs=epochs, seed=seed, lr=of.training.lr)
        return model

    # A defense may learn from the attacker's samples as well.
    without = {} if teaches else {"auxiliary": 0, "auxiliary_data": ""}
    key = study_plan.digest(
        {**of.identity, "seed": seed, "epochs": epochs, "cut": ""}
        | without
        | ({"defense": study_plan.identified(named, ANSWER_DEFENSES)} if teaches else {})
    )
    kept, rounds = runs / "models" / f"class-{key}.safetensors", tuple[nn.Module, ...]()
    if of.training.clients:
        if teaches or of.start != RANDOM:
            raise ConfigError(
                "Clients that train together by federated averaging begin with random weights and train as usual; "
                f"leave out training.clients, or {named.label if teaches else 'the weights of the model'}."
            )
        rounds = averaged(
            data, name=of.data, model=of.model, clients=of.training.clients, rounds=epochs, lr=of.training.lr,
            seed=seed, kept=kept, say=say,
        )  # fmt: skip
        model = rounds[-1]
    else:
        model = remembered(kept, built, taught, say).eval()
    described = {"name": cut_description.name, **cut_description.options}
    cut_defense, halves = defense_from(described), None
    if of.cut and isinstance(model, Drawn):
        # An export cannot be checked that draws other numbers than the network.
        say(f"{named.label} draws as it computes, so that the whole of it is asked in this process, without a cut")
    elif of.cut:
        if at_cut:
            say(f"hardening with {named.label}")
        halves = cut_defense.harden(split(model, of.cut, data.input), _splits(data), seed)
        model = join(halves).eval()
    # What learns from samples is not measured on the same ones.
    learns = type(defense).learn is not AnswerDefense.learn
    measured = data.held_out.at(np.s_[1::2]) if learns else data.held_out
    defense.learn(model, data.held_out.at(np.s_[::2]) if learns else data.held_out, seed)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    replies = answered(model, halves, cut_defense, defense, measured.inputs, seed)
    right = int((replies.argmax(1) == measured.labels).sum())
    accuracy = exact_proportion(right, len(measured))
    return ClassVictim(
        data, model, answers, defense, accuracy, seed, halves, cut_defense, described, experiment, runs, rounds
    )


def answered(
    model: nn.Module,
    halves: SplitModel | None,
    cut_defense: Any,
    defense: AnswerDefense,
    inputs: NDArray[np.float32],
    seed: int,
) -> NDArray[np.float32]:
    """What the service replies, log-probabilities ``(N, classes)``, computed in this process and without a codec."""
    rng, replies = np.random.default_rng([seed, 2]), []
    for start in range(0, len(inputs), _BATCH):
        part = torch.from_numpy(inputs[start : start + _BATCH])
        with torch.inference_mode():
            if halves is None:
                logits = model(part)
            else:
                logits = halves.tail(torch.from_numpy(cut_defense.protect(halves.head(part).numpy(), rng)))
        replies.append(defense.answer(log_softmax(logits.float(), 1).numpy(), rng))
    return np.concatenate(replies)


def _splits(data: ClassData) -> Splits:
    """The data as a defense of smashed data takes them."""
    names = (*data.classes[: data.n_private], STRANGER)
    return Splits(data.name, names, data.train, data.auxiliary, data.held_out, data.held_out)


def _experiment(of: Victim, seed: int, epochs: int) -> Experiment:
    return Experiment(
        of.data, of.model, of.cut, seed=seed, start=of.start, input=of.input,
        training=Training(epochs=epochs, lr=of.training.lr), measure=Measure(private=MANY, count=MANY),
    )  # fmt: skip
