"""How near reconstructions come to the truth. Nothing here can see a model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutlayer.data.splits import Splits
from cutlayer.errors import ConfigError
from cutlayer.metrics.image import mse
from cutlayer.metrics.interval import bootstrap
from cutlayer.metrics.leakage import leakage_gain
from cutlayer.records.run import Estimate
from cutlayer.registry import METRICS

CANDIDATES = 1000
"""Greatest number of private inputs among which the identification rate looks for the true one."""


@dataclass(frozen=True)
class Score:
    """How near n reconstructions come to the truth.

    Attributes:
        n: Number of reconstructions.
        metrics: Mean score by the name of the metric.
        leakage_gain: Share of the mean input's error that was removed.
        per_input: Score of each reconstruction by the name of the metric, ``(n,)`` each.
    """

    n: int
    metrics: dict[str, Estimate]
    leakage_gain: Estimate
    per_input: dict[str, NDArray[np.float64]]


def score(reconstructions: Tensor, data: Splits, seed: int, metrics: Sequence[str] = ()) -> Score:
    """Every metric of the data's modality with n and a 95 % interval, and the leakage gain over the mean input.

    Args:
        reconstructions: ``(N, *input.shape)``, of the first N private inputs.
        data: The true inputs, the candidates, and the auxiliary inputs whose mean is the floor.
        seed: Seed of the bootstrap.
        metrics: Names of metrics beside those of cutlayer.

    Raises:
        ConfigError: A metric of the user's own gives something else than a score for each reconstruction.
    """
    originals = torch.from_numpy(data.private.inputs[: len(reconstructions)])
    candidates = torch.from_numpy(data.private.inputs[:CANDIDATES])
    floor = torch.from_numpy(data.auxiliary.inputs.mean(axis=0)).expand_as(originals)
    scores = {}
    for name in (*METRICS, *metrics):
        metric = METRICS.load(name)
        if data.modality.name in metric.modalities:
            scored = metric.score(reconstructions, originals, candidates).double().numpy()
            scores[METRICS.label(name)] = scored
            if scored.shape not in ((len(originals),), (min(len(originals), len(candidates)),)):
                raise ConfigError(
                    f"The metric {METRICS.label(name)} gives scores of shape {scored.shape} for "
                    f"{len(originals)} reconstructions; let it give one number for each."
                )
    errors, floor_errors = (mse(inputs, originals).numpy() for inputs in (reconstructions, floor))
    return Score(
        n=len(reconstructions),
        metrics={name: _mean(score, seed) for name, score in scores.items()},
        leakage_gain=leakage_gain(errors, floor_errors, seed),
        per_input=scores,
    )


def _mean(scores: NDArray[np.float64], seed: int) -> Estimate:
    """The mean of the scores that are not infinite, and the number of those that are."""
    infinite = np.isinf(scores)
    rest = bootstrap(scores[~infinite], seed) if not infinite.all() else Estimate(nan, 0, nan, nan)
    return replace(rest, infinite=int(infinite.sum()))
