"""The attackers: what each may touch, and what they rebuild from the tap."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import View
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError
from cutlayer.experiment.measure import Observed
from cutlayer.experiment.spec import Experiment, Named
from cutlayer.experiment.victim import Say
from cutlayer.privacy.score import score
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.files import read_json, write_arrays, write_json
from cutlayer.records.run import AttackRecord
from cutlayer.registry import ATTACKS

SHOWN = 12
"""Private images whose reconstructions are kept as pictures: those with most contrast, for they say most to the eye."""


def attacks(experiment: Experiment, defense: Defense) -> list[tuple[Named, Attack]]:
    """The experiment's attacks, not yet fitted; those that average releases only where there is noise."""
    attacks = [(named, ATTACKS.make(named.name, **named.options)) for named in experiment.attacks]
    return [(named, attack) for named, attack in attacks if defense.random or attack.n_releases == 1]


def attack(
    named: Named,
    attack: Attack,
    seen: View,
    observed: Sequence[Observed],
    data: Splits,
    metrics: Sequence[str],
    work: Path,
    say: Say,
) -> list[AttackRecord]:
    """Fit once, rebuild the private images from the tap of each deployment, score.

    Args:
        named: The attack in the plan; an interrupted run finds the rows of a finished attack by its key.
        attack: The attack, not yet fitted.
        seen: All that the attack may touch.
        observed: The taps.
        data: The truth, for the scores alone.
        metrics: Names of metrics beside those of cutlayer.
        work: Folder of the rows and the pictures of each finished attack, until the run is finished.
        say: Called when there is work to do.

    Returns:
        One record for each deployment.
    """
    path = _path(work, named).with_suffix(".json")
    if path.exists():
        return [load(AttackRecord, record) for record in read_json(path)]
    work.mkdir(exist_ok=True)
    say(f"attacking with {named.label}")
    start = time.perf_counter()
    attack.fit(seen)
    fit_s = time.perf_counter() - start
    rows: list[AttackRecord] = []
    for observation in observed:
        releases = torch.from_numpy(observation.releases[: attack.n_releases]).to(seen.device)
        start = time.perf_counter()
        images = attack.invert_releases(releases).float().cpu()
        invert_s = time.perf_counter() - start
        _check(named, images, data)
        if observation is observed[0]:
            shown = data.modality.most_telling(data.private.inputs[: len(images)], SHOWN)
            pixels = data.modality.pixels(images.numpy()[shown])
            write_arrays(_path(work, named).with_suffix(".npz"), {"images": pixels})
        rows.append(AttackRecord(
            attack=ATTACKS.label(named.name), label=named.label, access=attack.needs.name, deployment=observation.deployment.label,
            n_releases=attack.n_releases, fit_s=fit_s, invert_s=invert_s, **vars(score(images, data, seen.seed, metrics)),
        ))  # fmt: skip
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
        with np.load(_path(work, named).with_suffix(".npz"), allow_pickle=False) as saved:
            arrays[named.label] = saved["images"]
    return arrays


def _check(named: Named, images: torch.Tensor, data: Splits) -> None:
    """Refuse what is no reconstruction: another shape than the inputs, or values outside [0, 1]."""
    wanted = data.private.inputs[: len(images)].shape
    if tuple(images.shape) != wanted:
        raise ConfigError(f"The attack {named.label} gives {tuple(images.shape)} where {wanted} is needed.")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise ConfigError(f"The attack {named.label} gives values outside [0, 1]; clamp its reconstructions.")


def _path(work: Path, named: Named) -> Path:
    """The files of a finished attack, without suffix; a hash, for options may hold what a file name may not."""
    return work / hashlib.sha256(named.key.encode()).hexdigest()[:16]
