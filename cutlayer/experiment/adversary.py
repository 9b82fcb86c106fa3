"""The attackers: what each may touch, what they rebuild from the tap, and how well."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.base import Access, Attack, Query, View
from cutlayer.compute import pick_device
from cutlayer.data.splits import Splits
from cutlayer.experiment.measure import Observed
from cutlayer.experiment.nouns import Named
from cutlayer.metrics.image import MSE, PSNR, SSIM
from cutlayer.metrics.identification import identified
from cutlayer.metrics.interval import bootstrap, leakage_gain
from cutlayer.models.split import SplitModel
from cutlayer.registry import ATTACKS
from defenses.base import Defense
from edge.pipeline import Pipeline

CANDIDATES = 1000
"""Images among which the identification rate looks for the true one."""

QUERY_BATCH = 256


def view(
    access: Access, split: SplitModel, query: Query, defense: Defense, data: Splits, seed: int
) -> View:
    """The one place where a threat model becomes an object: what `access` withholds is None."""
    white = access >= Access.WHITE_BOX
    return View(
        input=split.input,
        smashed=split.smashed,
        auxiliary=data.auxiliary,
        tail=split.tail,
        device=pick_device(),
        seed=seed,
        random=defense.random,
        _query=query if access >= Access.BLACK_BOX else None,
        _head=split.head if white else None,
        _defense=defense if white else None,
    )


def oracle(pipeline: Pipeline, rng: np.random.Generator) -> Query:
    """What the device would send for any input: the device's own pipeline, with fresh draws at each call."""

    def query(images: Tensor) -> Tensor:
        device, pixels = images.device, images.detach().cpu().numpy()
        wired = [pipeline.wire(pixels[i : i + QUERY_BATCH], rng) for i in range(0, len(pixels), QUERY_BATCH)]
        return torch.from_numpy(np.concatenate(wired)).to(device)

    return query


def fitted(named: Named, seen: View) -> tuple[Attack, float]:
    """The attack, prepared from its view alone, and the seconds that took."""
    attack: Attack = ATTACKS.make(named.name, **named.options)
    start = time.perf_counter()
    attack.fit(seen)
    return attack, time.perf_counter() - start


def rebuild(attack: Attack, observed: Observed, device: torch.device) -> tuple[Tensor, float]:
    """Reconstructions of the private images from what arrived, ``(N, C, H, W)``, and the seconds they took."""
    releases = torch.from_numpy(observed.releases[: attack.n_releases]).to(device)
    start = time.perf_counter()
    images = attack.invert_releases(releases)
    return images.float().cpu(), time.perf_counter() - start


def row(
    named: Named, attack: Attack, observed: Observed, images: Tensor, data: Splits, seed: int
) -> dict[str, Any]:
    """One line of the record: every metric with n and a 95 % interval, and the leakage gain."""
    n = len(images)
    truth = torch.from_numpy(data.private.images[:n])
    floor = torch.from_numpy(data.auxiliary.images.mean(axis=0)).expand_as(truth)
    pool = torch.from_numpy(data.private.images[:CANDIDATES])
    scores = {metric.name: metric.score(images, truth) for metric in (MSE, PSNR, SSIM)}
    scores["identification"] = identified(images, truth, pool)
    return {
        "attack": named.name,
        "label": named.label,
        "access": attack.needs.name,
        "deployment": observed.deployment.label,
        "n": n,
        "n_releases": attack.n_releases,
        "metrics": {name: asdict(bootstrap(_array(score), seed)) for name, score in scores.items()},
        "leakage_gain": asdict(leakage_gain(_array(scores["mse"]), _array(MSE.score(floor, truth)), seed)),
    }


def worst_case(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row that leaks most, by leakage gain: the headline."""
    worst = max(rows, key=lambda one: one["leakage_gain"]["value"])
    kept = {key: worst[key] for key in ("attack", "label", "deployment", "access", "n_releases", "leakage_gain")}
    return kept | {name: worst["metrics"][name] for name in ("mse", "psnr", "ssim", "identification")}


def _array(scores: Tensor) -> NDArray[np.float64]:
    return scores.double().cpu().numpy()
