"""What a plan trains, and on what: the untrained model, and the samples of each client."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import fx, nn

from cutlayer.data.load import open_data, other_size
from cutlayer.data.partition import Indices, histogram, partition, with_noise
from cutlayer.data.splits import NO_CLASS, Dataset, Splits
from cutlayer.errors import ConfigError, SplitError
from cutlayer.models import zoo
from cutlayer.models.cut import find_cut
from cutlayer.models.cuts import cuts
from cutlayer.models.group_norm import without_batch_norm
from cutlayer.models.halves import split
from cutlayer.models.text_folder import tokenizer_of
from cutlayer.protocols.draws import Role, drawing, generator
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.protocols.update_defense import update_defense
from cutlayer.registry import MODELS
from cutlayer.spec import TensorSpec, input_shape


@dataclass(frozen=True)
class Setup:
    """The data of a plan.

    Attributes:
        plan: The plan.
        input: One input of the model.
        classes: Names of the classes, by label.
        train: The training samples of all clients together; their inputs may still be in their files.
        test: The test samples, the same for all clients.
        indices: The positions in `train` of each client's samples: client k has the k-th entry, from 1.
        notes: What a reader of the results should know of the data.
    """

    plan: TrainingPlan
    input: TensorSpec
    classes: tuple[str, ...]
    train: Dataset
    test: Dataset
    indices: Indices
    notes: tuple[str, ...] = ()

    def samples(self, client: int) -> Dataset:
        """The training samples of a client, from 1, with the noise that its devices add."""
        own, _ = self.train.at(self.indices[client - 1]).loaded()
        rng = generator(self.plan.seed, Role.FEATURES, client)
        return replace(own, inputs=with_noise(own.inputs, self.plan.partition, client, self.plan.clients, rng))

    def held(self) -> NDArray[np.int64]:
        """``(clients, classes)``: the number of training samples of each class that each client holds."""
        return histogram(self.train.labels, self.indices, len(self.classes))

    def model(self) -> nn.Module:
        """The untrained model, the same for every party."""
        return untrained(self.plan, self.input, len(self.classes))


def prepare(plan: TrainingPlan, root: Path | None = None) -> Setup:
    """Load the data of a plan, and divide them among its clients.

    Args:
        plan: The plan.
        root: Folder of the data sets that are not embedded.

    Raises:
        ConfigError: The data have too few samples or no classes, or the partition leaves a client empty.
        DataError: A file is missing or damaged.
        SplitError: The model has no such cut.
    """
    shape = input_shape(plan.input) if plan.input else None
    preferred = MODELS.options(plan.model).get("input")
    otherwise = preferred.default.shape if preferred and isinstance(preferred.default, TensorSpec) else None
    tokenizer = tokenizer_of(plan.model)
    data = open_data(plan.data, root, plan.seed, shape=shape, otherwise=otherwise, tokenizer=tokenizer)
    if shape and data.input.shape != shape:
        raise other_size(data, plan.input, "input")
    data.check_full()
    train, (test, _) = _first(data, "train", plan.samples), _first(data, "test", plan.test).loaded()
    if not data.classes or (train.labels == NO_CLASS).any() or (test.labels == NO_CLASS).any():
        raise ConfigError(
            f"The {data.modality.one[1]} of {data.name} have no classes, which a model is trained on: "
            f"{data.modality.labelled}."
        )
    if plan.classes not in (0, len(data.classes)):
        raise ConfigError(f"{data.name} has {len(data.classes)} classes, and the plan says {plan.classes}; correct it.")
    rng = generator(plan.seed, Role.PARTITION)
    indices = partition(train.labels, plan.partition, plan.clients, rng, train.groups)
    setup = Setup(plan, data.input, data.classes, train, test, indices, data.notes)
    check_cuts(plan, setup.model(), data.input)
    return setup


def untrained(plan: TrainingPlan, input: TensorSpec, classes: int) -> nn.Module:
    """The model of a plan before training, as its update defense has it; it follows from the seed of the plan.

    Raises:
        ConfigError: The model cannot take such inputs, or has no batch normalization to replace.
    """
    seed = int(generator(plan.seed, Role.MODEL).integers(1 << 32))
    model = zoo.build(plan.model, input, classes, seed)
    if plan.bn == "replaced" and not without_batch_norm(model):
        raise ConfigError(f"{plan.model} has no batch normalization that bn = 'replaced' could replace; leave bn out.")
    with drawing(plan.seed, Role.MODEL, step=2):
        return update_defense(plan.update_defense).rebuilt(model, input, classes)


def check_cuts(plan: TrainingPlan, model: nn.Module, input: TensorSpec) -> None:
    """Refuse a plan whose model cannot be cut as it says.

    Raises:
        SplitError: The model has no such cut; the message names those that are near.
    """
    if plan.row.tail == "none":
        return
    assert isinstance(model, fx.GraphModule), "a model that is cut is a graph"
    known = cuts(model, input)
    for name in plan.cuts or (plan.cut,):
        find_cut(known, name)
    if plan.end:
        halves = split(model, plan.cut, input)
        behind = cuts(halves.tail, halves.smashed)
        if plan.end not in {alias for cut in behind for alias in (cut.name, *cut.aliases)}:
            raise SplitError(
                f"end = {plan.end!r:.80} is no cut behind {plan.cut} in {plan.model}; those are "
                f"{', '.join(cut.name for cut in behind)}."
            )


def _first(data: Splits, part: str, n: int) -> Dataset:
    """The first n samples of a part; all with 0."""
    present: Dataset = getattr(data, part)
    if n > len(present):
        key = "samples" if part == "train" else "test"
        raise ConfigError(f"{data.name} has {len(present):,} {part} samples, not {n:,}; state a smaller {key}.")
    return present.take(n or None)
