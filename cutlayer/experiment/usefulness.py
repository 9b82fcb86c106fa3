"""How useful the answers of a deployment are: how many classes are right, or how near vectors stay."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cutlayer.data.splits import Splits
from cutlayer.errors import ConfigError
from cutlayer.experiment.spec import Experiment
from cutlayer.experiment.victim import build
from cutlayer.metrics.interval import paired_change, proportion
from cutlayer.metrics.vectors import vectors
from cutlayer.models import zoo
from cutlayer.models.hugging_face import gives_vectors
from cutlayer.own import in_folder
from cutlayer.records import expectation
from cutlayer.records.expectation import ACCURACY, COSINE, SAME_NEAREST
from cutlayer.records.run import Estimate, Utility
from cutlayer.registry import MODELS, defense_from


@dataclass(frozen=True)
class Answers:
    """The answers to the test inputs: classes ``(N,)``, or vectors ``(N, width)``.

    Attributes:
        labels: The true classes.
        undefended: What the model without the defense answers.
        served: What each deployment answered, by its label.
    """

    labels: NDArray[np.int64]
    undefended: NDArray[Any]
    served: dict[str, NDArray[Any]]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by their names in `answers.npz`."""
        served = {f"served/{deployment}": answers for deployment, answers in self.served.items()}
        return {"labels": self.labels, "undefended": self.undefended, **served}

    def utility(self, further_epochs: int, seed: int) -> Utility:
        """How useful the answers of the first deployment are.

        Args:
            further_epochs: Passes over the training part in which the defense trained the model.
            seed: Seed of the interval of a cosine.
        """
        first = next(iter(self.served.values()))
        if self.undefended.ndim > 1:
            found = vectors(first, self.undefended, seed)
            near = found.cosine
            change = Estimate(near.value - 1, near.n, near.low - 1, near.high - 1)
            return Utility(change=change, further_epochs=further_epochs, vectors=found)
        right, undefended = (classes == self.labels for classes in (first, self.undefended))
        return Utility(
            accuracy=proportion(int(right.sum()), len(right)),
            baseline=proportion(int(undefended.sum()), len(undefended)),
            change=paired_change(undefended, right),
            further_epochs=further_epochs,
        )


def answers_of(
    labels: NDArray[np.int64], undefended: NDArray[Any], served: Mapping[str, NDArray[Any]], *, vectors: bool
) -> Answers:
    """The answers as they are where they are vectors, and otherwise the class of the greatest number of each.

    Args:
        labels: The true classes, ``(N,)``.
        undefended: What the model without the defense gives, ``(N, numbers)``.
        served: What each deployment gave, ``(N, numbers)``, by its label.
        vectors: Whether these are vectors.
    """
    if vectors:
        return Answers(labels, undefended, dict(served))
    return Answers(labels, undefended.argmax(1), {label: given.argmax(1) for label, given in served.items()})


def answers_vectors(experiment: Experiment, model: nn.Module) -> bool:
    """Whether the model of an experiment answers with vectors, which are neither right nor wrong."""
    return bool(in_folder(experiment.model)) and not experiment.training.epochs and gives_vectors(model)


def check_useful(experiment: Experiment, data: Splits) -> None:
    """Refuse an experiment whose answers say nothing of their use, or not what the plan asks of them.

    Raises:
        ConfigError: The model scores other classes than those of the data, or the data have none. Or the plan expects
            an accuracy of vectors, or a cosine of classes, or its defense trains on the classes of vectors.
    """
    model = build(experiment, data) if in_folder(experiment.model) else None
    if model is not None and answers_vectors(experiment, model):
        _check_vectors(experiment)
    else:
        _check_classes(experiment, data, model)


def _check_vectors(experiment: Experiment) -> None:
    name, defense = MODELS.label(experiment.model), {"name": experiment.defense.name, **experiment.defense.options}
    if ACCURACY in expectation.figures(experiment.expect):
        raise ConfigError(
            f"expect asks for the accuracy of {name}, which answers with vectors, and no label makes a vector right or "
            f"wrong: ask for {COSINE} or {SAME_NEAREST}, or state training.epochs, which train a classifier of the "
            "vectors."
        )
    if epochs := defense_from(defense).further_epochs:
        raise ConfigError(
            f"{experiment.defense.label} trains the model on labels (epochs: {epochs}), and {name} answers with "
            "vectors, which have none: leave that option out, or state training.epochs, which train a classifier of "
            "the vectors."
        )


def _check_classes(experiment: Experiment, data: Splits, model: nn.Module | None) -> None:
    name = MODELS.label(experiment.model)
    for figure in (COSINE, SAME_NEAREST):
        if figure in expectation.figures(experiment.expect):
            raise ConfigError(
                f"expect asks for {figure}, which is a figure of vectors, and {name} answers with classes here: ask "
                f"for {ACCURACY}, or take a sentence encoder in a folder, hf/FOLDER, with no epochs."
            )
    if model is None:
        return
    if not (data.classes or experiment.training.epochs):
        raise ConfigError(
            f"The accuracy of {name} on {data.name} cannot be measured, for its {data.modality.one[1]} have no labels: "
            "give each one a label, or cut the model with `cutlayer split`, which measures none."
        )
    answers = zoo.n_classes(model, data.input)
    if answers != len(data.classes):
        raise ConfigError(
            f"{name} answers with {answers:,} scores, and not with those of the {len(data.classes)} classes of "
            f"{data.name}, so that no answer is right or wrong: state training.epochs, which train a classifier, or "
            "cut the model with `cutlayer split`, which measures no accuracy."
        )
