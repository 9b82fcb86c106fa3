"""The attackers: what each may touch, and what they rebuild from the tap."""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.view import View
from cutlayer.data.splits import Splits
from cutlayer.experiment.measure import Observed
from cutlayer.experiment.spec import Experiment, Named
from cutlayer.privacy.score import row
from cutlayer.records.files import read_json, write_arrays, write_json
from cutlayer.registry import ATTACKS
from defenses.base import Defense

Say = Callable[[str], None]

SHOWN = 12
"""Private images whose reconstructions are kept as pictures: those with most contrast, for they say most to the eye."""


def attacks(experiment: Experiment, defense: Defense) -> list[tuple[Named, Attack]]:
    """The experiment's attacks, not yet fitted; those that average releases only where there is noise."""
    made = [(named, ATTACKS.make(named.name, **named.options)) for named in experiment.attacks]
    return [(named, attack) for named, attack in made if defense.random or attack.n_releases == 1]


def attack(
    named: Named, attack: Attack, seen: View, observed: Sequence[Observed], data: Splits, work: Path, say: Say
) -> list[dict[str, Any]]:
    """Fit once, rebuild the private images from the tap of each deployment, score.

    Args:
        named: What the records call it; the rows of an interrupted run are taken up by its label.
        attack: Not yet fitted.
        seen: All that the attack may touch.
        observed: The taps.
        data: The truth, for the scores alone.
        work: Where the rows and the pictures of each finished attack stay meanwhile.
        say: Told when there is work to do.

    Returns:
        One row for each deployment.
    """
    path = _path(work, named).with_suffix(".json")
    if path.exists():
        return read_json(path)  # type: ignore[no-any-return]
    work.mkdir(exist_ok=True)
    say(f"attacking with {named.label}")
    fit_s = _seconds(lambda: attack.fit(seen))[1]
    rows = []
    for one in observed:
        releases = torch.from_numpy(one.releases[: attack.n_releases]).to(seen.device)
        images, invert_s = _seconds(lambda releases=releases: attack.invert_releases(releases).float().cpu())
        if one is observed[0]:
            write_arrays(
                _path(work, named).with_suffix(".npz"), {"images": _bytes(images.numpy()[_shown(data, len(images))])}
            )
        about = {
            "attack": named.name,
            "label": named.label,
            "access": attack.needs.name,
            "deployment": one.deployment.label,
            "n_releases": attack.n_releases,
            "fit_s": fit_s,
            "invert_s": invert_s,
        }
        rows.append(about | row(images, data, seen.seed))
    write_json(path, rows)
    return rows


def pictures(
    attacks: Sequence[tuple[Named, Attack]], data: Splits, experiment: Experiment, work: Path
) -> dict[str, NDArray[Any]]:
    """Originals and what each attack made of them at the first deployment, ``(K, C, H, W)`` uint8."""
    shown = _shown(data, experiment.measure.private)
    arrays: dict[str, NDArray[Any]] = {
        "originals": _bytes(data.private.images[shown]),
        "labels": data.private.labels[shown],
    }
    for named, _ in attacks:
        with np.load(_path(work, named).with_suffix(".npz"), allow_pickle=False) as kept:
            arrays[named.label] = kept["images"]
    return arrays


def _shown(data: Splits, n: int) -> NDArray[np.intp]:
    """Which of the first n private images are kept as pictures, in their order."""
    contrast = data.private.images[:n].std(axis=(1, 2, 3))
    return np.sort(np.argsort(-contrast, kind="stable")[:SHOWN])


def _path(work: Path, named: Named) -> Path:
    """Where a finished attack's products stay; a hash, for options may hold what a file name may not."""
    return work / hashlib.sha256(named.key.encode()).hexdigest()[:16]


def _seconds(work: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    done = work()
    return done, time.perf_counter() - start


def _bytes(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(images * 255).astype(np.uint8)
