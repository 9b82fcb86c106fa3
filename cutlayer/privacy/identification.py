"""How often an attack picks the input that was sent from a list of candidates. Nothing here can see a model."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutlayer.data.splits import Splits
from cutlayer.metrics.identification import equal_inputs, ranks, shares
from cutlayer.metrics.interval import exact_proportion
from cutlayer.records.run import IdentificationRecord

CANDIDATES = 1000
"""Greatest number of private inputs among which the true one is looked for."""
FIRST = 10
"""Candidates among which the true one may be, for the second of the two shares."""
PER_DECADE = 10
"""Ranks of the curve between a number and ten times that number."""


def candidates(data: Splits) -> Tensor:
    """The inputs among which the true one is looked for: the first of the private part, ``(M, *input.shape)``."""
    return torch.from_numpy(data.private.inputs[:CANDIDATES])


def identification(
    scores: Tensor, data: Splits, *, attack: str, label: str, access: str, deployment: str, n_releases: int, how: str
) -> tuple[IdentificationRecord, NDArray[np.float64]]:
    """The record of one attack on one deployment, and the rank of the true candidate of each input, from 1.

    Candidates with equal scores are in an order by lot: a share counts the chance, and a rank is the mean over all
    orders. What says nothing of the input gets one in M. A candidate that equals the true one value for value counts as
    the true one. Inputs whose truth is no candidate, those beyond the first M, are left out.

    Args:
        scores: ``(N, M)`` of the first N private inputs, greatest for the candidate that is most likely.
        data: The truth.
        attack: See `IdentificationRecord`, as the further arguments.
        label: Likewise.
        access: Likewise.
        deployment: Likewise.
        n_releases: Likewise.
        how: Likewise.
    """
    pool = candidates(data)
    scores = scores.cpu()[: len(pool)]
    before, ties = ranks(scores, equal_inputs(pool[: len(scores)], pool))

    def among(k: int) -> float:
        return float(shares(before, ties, k).double().sum())

    steps = sorted({round(10 ** (step / PER_DECADE)) for step in range(int(PER_DECADE * np.log10(len(pool))) + 1)})
    places = tuple(dict.fromkeys([*steps, len(pool)]))
    found = IdentificationRecord(
        attack=attack, label=label, access=access, deployment=deployment, n_releases=n_releases, how=how,
        candidates=len(pool), top_1=exact_proportion(among(1), len(scores)),
        top_10=exact_proportion(among(min(FIRST, len(pool))), len(scores)), ranks=places,
        curve=tuple(round(among(k) / len(scores), 6) for k in places),
    )  # fmt: skip
    return found, (1 + before + ties / 2).double().numpy()
