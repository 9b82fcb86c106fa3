"""How near reconstructions come to the truth. Nothing here can see a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutlayer.data.modality import TOKENS, Column
from cutlayer.data.splits import NO_CLASS, Splits
from cutlayer.errors import ConfigError
from cutlayer.metrics.base import Context
from cutlayer.metrics.columns import right_columns
from cutlayer.metrics.interval import bootstrap, exact_proportion
from cutlayer.metrics.judge import Judge
from cutlayer.metrics.leakage import leakage_gain
from cutlayer.metrics.nearness import error_of
from cutlayer.privacy.identification import candidates
from cutlayer.records.run import ColumnRecord, Estimate
from cutlayer.registry import METRICS, STANDARD_METRICS


@dataclass(frozen=True)
class Chosen:
    """The metrics beside the standard ones, and what they measure with.

    Attributes:
        names: Names in the registry, or of the user's own.
        weights_root: Folder of published weights; see `cutlayer.metrics.weights.weights_root`.
        judge: The evaluation classifier; None where there is none.
        embed: The vectors of a model for inputs, ``(N, *input.shape)`` to ``(N, D)``; None where there is none.
    """

    names: tuple[str, ...] = ()
    weights_root: Path | None = None
    judge: Judge | None = None
    embed: Callable[[Tensor], Tensor] | None = None

    def need(self, what: str, modality: str) -> bool:
        """Whether a metric of this kind of inputs takes this field of `Context`: ``judge``, or ``embed``."""
        return any(what in metric.needs and modality in metric.modalities for metric in map(METRICS.load, self.names))

    def notes(self, n: int, *, judged: bool) -> list[str]:
        """What to know of the scores of n reconstructions: metrics that are left out, and biased ones.

        Args:
            n: Number of reconstructions.
            judged: Whether there is an evaluation classifier, or will be.
        """
        found = []
        for metric in map(METRICS.load, self.names):
            if "judge" in metric.needs and not judged:
                found.append(f"{metric.title} is left out: only `cutlayer run` has an evaluation classifier.")
            elif metric.weights is not None and metric.weights.found(self.weights_root) is None:
                found.append(f"{metric.title} is left out: {metric.weights.missing(self.weights_root)}.")
            elif n < metric.fewest:
                found.append(
                    f"{metric.title} of {n:,} inputs is biased; it needs {metric.fewest:,}, and is comparable only "
                    "with that of equally many of them."
                )
        return found


@dataclass(frozen=True)
class Score:
    """How near n reconstructions come to the truth.

    Attributes:
        n: Number of reconstructions.
        metrics: Mean score by the name of the metric; NaN where its file of weights is missing, or there
            is no evaluation classifier.
        leakage_gain: Share of the error of the floor (`Splits.floor`) that was removed; see `error_of`.
        per_input: Score of each reconstruction by the name of the metric, ``(n,)`` each; none of a metric that scores
            all of them together.
        columns: How often each column is right; none where the inputs are no rows of a table.
    """

    n: int
    metrics: dict[str, Estimate]
    leakage_gain: Estimate
    per_input: dict[str, NDArray[np.float64]]
    columns: tuple[ColumnRecord, ...] = ()


NO_MORE = Chosen()


def score(reconstructions: Tensor, data: Splits, seed: int, chosen: Chosen = NO_MORE) -> Score:
    """The standard metrics and those chosen beside them, with n and a 95 % interval, and the leakage gain.

    Metrics that do not apply to the data's modality are left out. A score of the set has no interval: reconstructions
    that are drawn twice make a set look less various than it is.

    Args:
        reconstructions: ``(N, *input.shape)``, of the first N private inputs.
        data: The true inputs, the candidates, and the auxiliary inputs whose mean is the floor.
        seed: Seed of the bootstrap.
        chosen: Metrics beside the standard ones.

    Raises:
        ConfigError: A metric of the user's own gives something else than a score for each reconstruction, or a file of
            weights is damaged.
    """
    originals = torch.from_numpy(data.modality.unmarked(data.private.inputs[: len(reconstructions)]))
    pool = candidates(data)
    prior = torch.from_numpy(data.floor)
    labels = data.private.labels[: max(len(originals), len(pool))]
    known = None if (labels == NO_CLASS).any() else torch.from_numpy(labels)
    context = Context(
        prior=prior, labels=known, judge=chosen.judge, columns=data.columns or None, seen=_seen(data),
        embed=chosen.embed,
    )  # fmt: skip
    estimates, scores = dict[str, Estimate](), dict[str, NDArray[np.float64]]()
    for name in dict.fromkeys((*STANDARD_METRICS, *chosen.names)):
        metric, label = METRICS.load(name), METRICS.label(name)
        if data.modality.name not in metric.modalities or ("columns" in metric.needs and not data.columns):
            continue
        lacks = any(getattr(context, need) is None for need in metric.needs)
        if lacks or (metric.weights is not None and metric.weights.found(chosen.weights_root) is None):
            estimates[label] = Estimate(nan, 0, nan, nan)
            continue
        scored = metric.score(reconstructions, originals, pool, context, chosen.weights_root).double().numpy()
        each = (len(originals),), (min(len(originals), len(pool)),)
        if scored.shape not in (((),) if metric.of_set else each):
            raise ConfigError(
                f"The metric {label} gives scores of shape {scored.shape} for {len(originals)} reconstructions; let it "
                f"give one number for {'all' if metric.of_set else 'each'}."
            )
        if metric.of_set:
            estimates[label] = Estimate(float(scored), len(reconstructions), nan, nan)
            continue
        scores[label] = scored
        share = metric.of_yes_or_no
        estimates[label] = exact_proportion(int(scored.sum()), len(scored)) if share else _mean(scored, seed)
    error = error_of(data.modality)
    errors, floor_errors = (
        error(inputs, originals).numpy() for inputs in (reconstructions, prior.expand_as(originals))
    )
    return Score(
        n=len(reconstructions),
        metrics=estimates,
        leakage_gain=leakage_gain(errors, floor_errors, seed),
        per_input=scores,
        columns=_by_column(reconstructions, originals, prior, data.columns) if data.columns else (),
    )


def _seen(data: Splits) -> Tensor | None:
    """Which tokens occur in the attacker's own sentences, by id; None where inputs are no tokens."""
    if data.modality.name != TOKENS:
        return None
    seen = torch.zeros(int(data.input.high or 0) + 1, dtype=torch.bool)
    seen[torch.from_numpy(np.unique(data.auxiliary.inputs))] = True
    return seen


def _by_column(
    reconstructions: Tensor, originals: Tensor, prior: Tensor, columns: Sequence[Column]
) -> tuple[ColumnRecord, ...]:
    """How often each column is right, and how often the floor is."""
    right, guessed = (
        right_columns(rows, originals, columns).sum(0).tolist()
        for rows in (reconstructions, prior.expand_as(originals))
    )
    n = len(originals)
    return tuple(
        ColumnRecord(name=column.name, right=exact_proportion(found, n), guessed=floor / n)
        for column, found, floor in zip(columns, right, guessed, strict=True)
    )


def _mean(scores: NDArray[np.float64], seed: int) -> Estimate:
    """The mean of the scores that are not infinite, and the number of those that are."""
    infinite = np.isinf(scores)
    rest = bootstrap(scores[~infinite], seed) if not infinite.all() else Estimate(nan, 0, nan, nan)
    return replace(rest, infinite=int(infinite.sum()))
