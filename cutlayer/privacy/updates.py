"""How near what an attack makes of updates comes to the samples that they were computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutlayer.attacks.gradients.base import Recovered
from cutlayer.attacks.gradients.scoring import features, features_right, labels_right, paired
from cutlayer.data.modality import TABLE, TOKENS
from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import DataError
from cutlayer.metrics.interval import bootstrap, exact_proportion
from cutlayer.privacy.identification import CANDIDATES
from cutlayer.privacy.score import score
from cutlayer.records.gradients import UpdateScore

REBUILT_DB = 25.0
"""PSNR above which an image counts as rebuilt."""


def score_updates(
    recovered: Sequence[Recovered], inputs: Sequence[Tensor], labels: Sequence[Tensor], data: Splits, seed: int = 0
) -> UpdateScore:
    """The scores of one attack over all samples of all updates, which one pairing for each update decides.

    Args:
        recovered: What the attack makes of each update.
        inputs: The true samples of each update, ``(M, *input.shape)``; as many are scored as can be paired.
        labels: Their labels, ``(M,)`` int64, or ``(M, classes)`` shares of each class, of which the greatest counts.
        data: The candidates, which are the other private samples, and the auxiliary samples whose mean is the floor.
        seed: Seed of the bootstrap.

    Raises:
        DataError: The attack's answer is not of the form of the inputs, or not finite.
    """
    rebuilt, truth = list[Tensor](), list[Tensor]()
    for found, true in zip(recovered, inputs, strict=True):
        _check(found.inputs, true)
        if data.modality.name != TOKENS:
            # A defense may have put samples beyond the range of inputs into a batch, which nobody takes for answers.
            true = true[((true >= 0) & (true <= 1)).flatten(1).all(1)]
        mine, theirs = paired(found.inputs, true)
        answers = found.inputs[mine].detach()
        rebuilt.append(answers if data.modality.name == TOKENS else answers.float().clamp(0, 1))
        truth.append(true[theirs])
    images, originals = torch.cat(rebuilt), torch.cat(truth)
    if not len(originals):
        raise DataError("No sample of the updates is in the range of inputs, so that none can be scored.")
    scored = score(images, _first(originals, data), seed)
    metrics = dict(scored.metrics)
    n = scored.n
    if data.modality.name == TABLE.name:
        rows = data.auxiliary.inputs
        right = features_right(images, originals, features(rows), torch.from_numpy(rows.std(0)))
        metrics["features"] = bootstrap(right.double().mean(1).numpy(), seed)
        metrics["exact rows"] = exact_proportion(int(right.all(1).sum()), n)
    elif data.modality.name != TOKENS:
        metrics["rebuilt"] = exact_proportion(int((scored.per_input["psnr"] > REBUILT_DB).sum()), n)
    if all(found.labels is not None for found in recovered):
        shares = np.array(
            [_labels(found, true, len(data.classes)) for found, true in zip(recovered, labels, strict=True)]
        )
        metrics["labels"] = bootstrap(shares, seed)
        metrics["whole batches"] = exact_proportion(int((shares == 1).sum()), len(shares))
    return UpdateScore(n=n, metrics=metrics, leakage_gain=scored.leakage_gain)


def _labels(found: Recovered, true: Tensor, classes: int) -> float:
    assert found.labels is not None
    return labels_right(found.labels.cpu(), true.argmax(1) if true.dim() > 1 else true, classes)


def _check(found: Tensor, true: Tensor) -> None:
    if found.shape[1:] != true.shape[1:]:
        raise DataError(f"The attack answers with samples of {tuple(found.shape[1:])}, not {tuple(true.shape[1:])}.")
    if not found.isfinite().all():
        raise DataError("The attack answers with NaN or infinity; it diverged.")


def _first(originals: Tensor, data: Splits) -> Splits:
    """The data, whose private part begins with these samples; the other candidates follow."""
    first: NDArray[Any] = originals.numpy()
    known = {row.tobytes() for row in first}
    others = [row for row in data.private.inputs[: CANDIDATES + len(first)] if row.tobytes() not in known]
    rest = others[: max(0, CANDIDATES - len(first))]
    pool = np.concatenate([first, np.stack(rest)]) if rest else first
    return replace(data, private=Dataset(pool, np.zeros(len(pool), np.int64), data.modality), tiles=None)
