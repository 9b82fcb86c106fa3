"""How often an attacker that asks a model of a table finds a private answer of the people it was trained on.

The attack is `cutlayer.attacks.answers.attributes`; the figure is what it has right above imputation, the guess of the
attacker's own rows without the model. A model may be right about people because it knows the world: what imputation
finds as well is no leak of the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cutlayer.attacks.answers.attributes import imputed, inferred
from cutlayer.attacks.answers.view import Service
from cutlayer.data.splits import Splits
from cutlayer.errors import ConfigError, near
from cutlayer.metrics.interval import exact_proportion, paired_change
from cutlayer.records.run import Estimate


@dataclass(frozen=True)
class AttributeScore:
    """How often one yes or no of a person was found.

    Attributes:
        attribute: Its name.
        majority: Share of the people who have the more frequent value.
        imputation: Share found without the model.
        accuracy: Share found with it.
        gain: The difference of the two, with the interval of a paired comparison.
        asked: Questions to the model.
    """

    attribute: str
    majority: float
    imputation: Estimate
    accuracy: Estimate
    gain: Estimate
    asked: int


def attribute_score(
    service: Service, data: Splits, attribute: str, *, n: int = 2000, overheard: bool = True, seed: int = 0
) -> AttributeScore:
    """Infer an attribute of the first n people of the training part.

    Args:
        service: The model, which tells scores.
        data: The table; the attacker holds the auxiliary part.
        attribute: One of `data.attributes`, the yes or no in one column of the rows.
        n: Number of people.
        overheard: Whether the attacker has overheard the model's answers to the true rows; it knows the class of each
            person in any case.
        seed: Seed of the imputation.

    Raises:
        ConfigError: There is no such attribute, or no two columns of the rows say no and yes.
        WithheldError: The service tells labels only, or fewer questions are left than two for each person.
    """
    columns = columns_of(data, attribute)
    asked, own = data.train.take(n), data.auxiliary
    truth = asked.inputs[:, columns[1]] > 0.5

    def answers(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return service.scores(torch.from_numpy(rows)).exp().double().numpy()

    before, prior = service.asked, imputed(own.inputs, own.labels, asked.inputs, asked.labels, columns, seed)
    observed = service.ask(torch.from_numpy(asked.inputs)).exp().double().numpy() if overheard else None
    odds = inferred(answers, asked.inputs, asked.labels, columns, prior, observed)
    floor, right = ((guess > 0) == truth for guess in (prior, odds))
    return AttributeScore(
        attribute, float(max(truth.mean(), 1 - truth.mean())), exact_proportion(int(floor.sum()), len(floor)),
        exact_proportion(int(right.sum()), len(right)), paired_change(floor, right), service.asked - before,
    )  # fmt: skip


def columns_of(data: Splits, attribute: str) -> tuple[int, int]:
    """The columns of the rows that say no and yes.

    Raises:
        ConfigError: There is no such attribute, or no two columns say it.
    """
    if attribute not in data.attributes:
        raise ConfigError(f"{data.name} has no attribute named {attribute!r:.80}; {near(attribute, data.attributes)}")
    known = data.train.attributes
    if known is None or data.train.inputs.ndim != 2:
        raise ConfigError(f"The inputs of {data.name} are no rows of a table in which a column says {attribute}.")
    value = known[:, data.attributes.index(attribute)][:, None]
    no, yes = (np.flatnonzero((data.train.inputs == said).all(0)) for said in (1 - value, value))
    if len(no) != 1 or len(yes) != 1:
        raise ConfigError(
            f"No two columns of {data.name} say no and yes to {attribute}; take an attribute that each person answers "
            "with one of the two."
        )
    return int(no[0]), int(yes[0])
