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
from cutlayer.privacy.score import score
from cutlayer.records.files import read_json, write_arrays, write_json
from cutlayer.records.run import AttackRecord
from cutlayer.records.schema import dump, load
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
) -> list[AttackRecord]:
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
        One record for each deployment.
    """
    path = _path(work, named).with_suffix(".json")
    if path.exists():
        return [load(AttackRecord, record) for record in read_json(path)]
    work.mkdir(exist_ok=True)
    say(f"attacking with {named.label}")
    fit_s = _seconds(lambda: attack.fit(seen))[1]
    rows: list[AttackRecord] = []
    for one in observed:
        releases = torch.from_numpy(one.releases[: attack.n_releases]).to(seen.device)
        images, invert_s = _seconds(lambda releases=releases: attack.invert_releases(releases).float().cpu())
        if one is observed[0]:
            shown = data.modality.most_telling(data.private.inputs[: len(images)], SHOWN)
            pixels = data.modality.pixels(images.numpy()[shown])
            write_arrays(_path(work, named).with_suffix(".npz"), {"images": pixels})
        rows.append(
            AttackRecord(
                attack=named.name,
                label=named.label,
                access=attack.needs.name,
                deployment=one.deployment.label,
                n_releases=attack.n_releases,
                fit_s=fit_s,
                invert_s=invert_s,
                **vars(score(images, data, seen.seed)),
            )
        )
    write_json(path, dump(rows))
    return rows


def pictures(
    attacks: Sequence[tuple[Named, Attack]], data: Splits, experiment: Experiment, work: Path
) -> dict[str, NDArray[Any]]:
    """Originals and what each attack made of them at the first deployment, ``(K, C, H, W)`` uint8."""
    private = data.private.take(experiment.measure.private)
    shown = private.at(data.modality.most_telling(private.inputs, SHOWN))
    arrays: dict[str, NDArray[Any]] = {"originals": data.modality.pixels(shown.inputs), "labels": shown.labels}
    for named, _ in attacks:
        with np.load(_path(work, named).with_suffix(".npz"), allow_pickle=False) as kept:
            arrays[named.label] = kept["images"]
    return arrays


def _path(work: Path, named: Named) -> Path:
    """Where a finished attack's products stay; a hash, for options may hold what a file name may not."""
    return work / hashlib.sha256(named.key.encode()).hexdigest()[:16]


def _seconds(work: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    done = work()
    return done, time.perf_counter() - start
