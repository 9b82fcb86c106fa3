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
from cutlayer.bounded import read_arrays, read_json, reason
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError
from cutlayer.experiment.measure import Observed
from cutlayer.experiment.spec import Experiment, Named
from cutlayer.experiment.victim import Say
from cutlayer.privacy.score import Chosen, score
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.files import delete, write_arrays, write_json
from cutlayer.records.reconstructions import Reconstructions
from cutlayer.records.run import AttackRecord
from cutlayer.registry import ATTACKS

SHOWN = 12
"""Private images that a page shows: those with most contrast, for they say most to the eye."""


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
    metrics: Chosen,
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
        metrics: Metrics beside the standard ones.
        work: Folder of the rows, the scores and the reconstructions of each finished attack, until the run is finished.
        say: Called when there is work to do.

    Returns:
        One record for each deployment.
    """
    path = _path(work, named).with_suffix(".json")
    if path.exists():
        try:
            read_arrays(path.with_suffix(".npz"))  # needed at the end
            return [load(AttackRecord, record) for record in read_json(path)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"the records of {named.label} are damaged ({reason(error)}): attacking again")
            for damaged in (path, path.with_suffix(".npz")):
                delete(damaged)
    say(f"attacking with {named.label}")
    start = time.perf_counter()
    attack.fit(seen)
    fit_s = time.perf_counter() - start
    rows, arrays = list[AttackRecord](), dict[str, NDArray[Any]]()
    for observation in observed:
        releases = torch.from_numpy(observation.releases[: attack.n_releases]).to(seen.device)
        start = time.perf_counter()
        images = attack.invert_releases(releases).float().cpu()
        invert_s = time.perf_counter() - start
        _check(named, images, data)
        scored, where = score(images, data, seen.seed, metrics), observation.deployment.label
        arrays |= {f"{where}/{metric}": scores for metric, scores in scored.per_input.items()}
        arrays[where] = images.numpy().astype(np.float16)
        rows.append(AttackRecord(
            attack=ATTACKS.label(named.name), label=named.label, access=attack.needs.name, deployment=where,
            n_releases=attack.n_releases, fit_s=fit_s, invert_s=invert_s, n=scored.n, metrics=scored.metrics,
            leakage_gain=scored.leakage_gain,
        ))  # fmt: skip
    write_arrays(path.with_suffix(".npz"), arrays)
    write_json(path, dump(rows))
    return rows


def kept(
    attacks: Sequence[tuple[Named, Attack]], data: Splits, n_private: int, work: Path
) -> tuple[Reconstructions, dict[str, NDArray[np.float64]]]:
    """All private inputs with all reconstructions, and the score of each one by ``deployment/attack/metric``."""
    private = data.private.take(n_private)
    rebuilt, scores = dict[tuple[str, str], NDArray[Any]](), dict[str, NDArray[np.float64]]()
    for named, _ in attacks:
        for name, array in read_arrays(_path(work, named).with_suffix(".npz")).items():
            where, _, metric = name.partition("/")
            if metric:
                scores[f"{where}/{named.label}/{metric}"] = array
            else:
                rebuilt[where, named.label] = array
    telling = data.modality.most_telling(private.inputs, SHOWN)
    tiles = data.tiles if data.tiles and data.tiles[0] * data.tiles[1] <= n_private else None
    return Reconstructions(private.inputs.astype(np.float16), private.labels, telling, rebuilt, tiles), scores


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
