"""The attackers: what each may touch, and what they rebuild from the tap."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.base import Access, Attack, Query, View
from cutlayer.compute import pick_device
from cutlayer.data.splits import Splits
from cutlayer.experiment import records
from cutlayer.experiment.measure import Observed
from cutlayer.experiment.nouns import Experiment
from cutlayer.experiment.score import row
from cutlayer.models.split import SplitModel
from cutlayer.registry import ATTACKS
from cutlayer.wire.codecs.packed import codec_named
from defenses.base import Defense
from edge.onnx_head import OnnxHead
from edge.pipeline import Pipeline

SHOWN = 12
"""Private images whose reconstructions are kept as pictures."""


def attacks(experiment: Experiment, defense: Defense) -> dict[str, Attack]:
    """The experiment's attacks by label, not yet fitted; those that average releases only where there is noise."""
    made = {named.label: ATTACKS.make(named.name, **named.options) for named in experiment.attacks}
    return {label: attack for label, attack in made.items() if defense.random or attack.n_releases == 1}


def view(access: Access, split: SplitModel, query: Query, defense: Defense, data: Splits, seed: int) -> View:
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


def wire(folder: Path, defense: Defense, codec: str) -> Pipeline:
    """The device's own pipeline, from the split folder that it was given."""
    head = OnnxHead(folder / "head.onnx", threads=torch.get_num_threads())
    return Pipeline(head, defense, codec_named(codec))


def oracle(pipeline: Pipeline, seed: int, label: str) -> Query:
    """What the server would receive for any input: the device's pipeline, with fresh draws at each call."""
    rng = np.random.default_rng([seed, *label.encode()])

    def query(images: Tensor) -> Tensor:
        return torch.tensor(pipeline.wire(images.detach().cpu().numpy(), rng), device=images.device)

    return query


def attack(
    label: str, attack: Attack, seen: View, observed: Sequence[Observed], data: Splits, work: Path
) -> list[dict[str, Any]]:
    """Fit once, rebuild the private images from the tap of each deployment, score.

    Args:
        label: Names the attack in the records; the rows of an interrupted run are taken up by it.
        attack: Not yet fitted.
        seen: All that the attack may touch.
        observed: The taps.
        data: The truth, for the scores alone.
        work: Where the rows and the pictures of each finished attack stay meanwhile.

    Returns:
        One row for each deployment.
    """
    path = work / f"{label.replace('/', '_')}.json"
    if path.exists():
        return records.read_json(path)  # type: ignore[no-any-return]
    work.mkdir(exist_ok=True)
    fit_s = _seconds(lambda: attack.fit(seen))[1]
    rows = []
    for one in observed:
        releases = torch.from_numpy(one.releases[: attack.n_releases]).to(seen.device)
        images, invert_s = _seconds(lambda releases=releases: attack.invert_releases(releases).float().cpu())
        if one is observed[0]:
            records.write_arrays(path.with_suffix(".npz"), {"images": _bytes(images[:SHOWN].numpy())})
        about = {
            "attack": label.partition(" ")[0],
            "label": label,
            "access": attack.needs.name,
            "deployment": one.deployment.label,
            "n_releases": attack.n_releases,
            "fit_s": fit_s,
            "invert_s": invert_s,
        }
        rows.append(about | row(images, data, seen.seed))
    records.write_json(path, rows)
    return rows


def pictures(labels: Mapping[str, Any], data: Splits, experiment: Experiment, work: Path) -> dict[str, NDArray[Any]]:
    """Originals and what each attack made of them at the first deployment, ``(K, C, H, W)`` uint8."""
    shown = data.private.take(min(SHOWN, experiment.measure.private))
    arrays: dict[str, NDArray[Any]] = {"originals": _bytes(shown.images), "labels": shown.labels}
    for label in labels:
        with np.load(work / f"{label.replace('/', '_')}.npz", allow_pickle=False) as kept:
            arrays[label] = kept["images"]
    return arrays


def _seconds(work: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    done = work()
    return done, time.perf_counter() - start


def _bytes(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(images * 255).astype(np.uint8)
