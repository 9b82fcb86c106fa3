"""The attackers: what each may touch, and what they rebuild from the tap."""

import hashlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutlayer.attacks.base import Attack, fitted
from cutlayer.attacks.view import Access, View
from cutlayer.bounded import read_arrays, read_json, reason
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError, CutlayerError, WithheldError
from cutlayer.experiment.spec import Experiment, Named
from cutlayer.experiment.victim import Say
from cutlayer.foreign import shown
from cutlayer.machine.memory import is_lack_of_memory
from cutlayer.privacy.score import Chosen, score
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.files import delete, write_arrays, write_json
from cutlayer.records.reconstructions import Reconstructions
from cutlayer.records.run import AttackRecord, FailedAttack
from cutlayer.registry import ATTACKS

SHOWN = 12
"""Private images that a page shows: those with most contrast, for they say most to the eye."""


def attacks(experiment: Experiment, defense: Defense) -> list[tuple[Named, Attack]]:
    """The experiment's attacks, not yet fitted; those that average releases only where there is noise."""
    attacks = [(named, ATTACKS.make(named.name, **named.options)) for named in experiment.attacks]
    return [(named, attack) for named, attack in attacks if defense.random or attack.n_releases == 1]


def check_granted(attacks: Sequence[Named], granted: Access) -> None:
    """Refuse an attack that needs more access than is granted.

    Raises:
        WithheldError: The first such attack, with what it needs and what is granted.
    """
    for named in attacks:
        needs = ATTACKS.make(named.name, **named.options).needs
        if needs > granted:
            raise WithheldError(
                f"The attack {named.label} needs {needs.label} access, and {granted.label} access is granted; leave "
                "the attack out, or grant more with access."
            )


def attack_all(
    attacks: Sequence[tuple[Named, Attack]],
    view_for: Callable[[Named, Attack], View],
    released: Mapping[str, NDArray[np.float32]],
    truth: Splits | None,
    metrics: Chosen,
    work: Path,
    say: Say,
) -> tuple[list[AttackRecord], list[FailedAttack]]:
    """Run every attack, in a run and on a recorded tap alike; one that fails does not stop the others.

    Args:
        attacks: The attacks, not yet fitted.
        view_for: Gives all that an attack may touch.
        released: See `attack`, as the further arguments.
        truth: Likewise.
        metrics: Likewise.
        work: Likewise.
        say: Likewise.

    Returns:
        The rows of the attacks that worked, and those that failed with the reason.

    Raises:
        ConfigError: All of them failed.
    """
    rows, failed = list[AttackRecord](), list[FailedAttack]()
    for named, chosen in attacks:
        try:
            rows += attack(named, chosen, view_for(named, chosen), released, truth, metrics, work, say)
        except AttackError as error:
            say(str(error))
            failed.append(FailedAttack(
                attack=ATTACKS.label(named.name), label=named.label, access=chosen.needs.name, reason=error.reason
            ))  # fmt: skip
    if attacks and len(failed) == len(attacks):
        raise ConfigError("No attack worked. " + " ".join(f"{entry.label}: {entry.reason}" for entry in failed))
    return rows, failed


def attack(
    named: Named,
    attack: Attack,
    seen: View,
    released: Mapping[str, NDArray[np.float32]],
    truth: Splits | None,
    metrics: Chosen,
    work: Path,
    say: Say,
) -> list[AttackRecord]:
    """Fit once, rebuild the private images from what arrived in each deployment, score.

    What an attack before this one has fitted in the same view is not fitted again, and not timed again.

    Args:
        named: The attack in the plan; an interrupted run finds the rows of a finished attack by its key.
        attack: The attack, not yet fitted.
        seen: All that the attack may touch.
        released: What arrived, ``(n_releases, N, *smashed.shape)`` by the label of the deployment.
        truth: The truth, for the scores alone; None where it is unknown.
        metrics: Metrics beside the standard ones.
        work: Folder of the rows, the scores and the reconstructions of each finished attack, until the run is finished.
        say: Called when there is work to do.

    Returns:
        One record for each deployment; none where the truth is unknown.

    Raises:
        AttackError: The attack failed.
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
    with failing(named, attack):
        attack = fitted(attack, seen)
    fit_s = time.perf_counter() - start
    rows, arrays = list[AttackRecord](), dict[str, NDArray[Any]]()
    for where, arrived in released.items():
        start = time.perf_counter()
        with failing(named, attack):
            images = attack.invert_releases(torch.from_numpy(arrived[: attack.n_releases]).to(seen.device))
            images = images.float().cpu()
            _check(images, (arrived.shape[1], *seen.input.shape))
        invert_s = time.perf_counter() - start
        arrays[where] = images.numpy().astype(np.float16)
        if truth is None:
            continue
        scored = score(images, truth, seen.seed, metrics)
        arrays |= {f"{where}/{metric}": scores for metric, scores in scored.per_input.items()}
        rows.append(AttackRecord(
            attack=ATTACKS.label(named.name), label=named.label, access=attack.needs.name, deployment=where,
            n_releases=attack.n_releases, fit_s=fit_s, invert_s=invert_s, n=scored.n, metrics=scored.metrics,
            leakage_gain=scored.leakage_gain,
        ))  # fmt: skip
    write_arrays(path.with_suffix(".npz"), arrays)
    write_json(path, dump(rows))
    return rows


class AttackError(CutlayerError):
    """An attack failed; the others go on."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"{label} failed: {reason}")
        self.reason = reason


@contextmanager
def failing(named: Named, attack: Attack) -> Iterator[None]:
    """Turn whatever goes wrong in an attack into an `AttackError` that says why."""
    try:
        yield
    except Exception as error:
        if is_lack_of_memory(error):
            why = f"It ran out of memory; {_smaller(attack)}."
        elif isinstance(error, CutlayerError):
            why = str(error)
        else:
            place = traceback.extract_tb(error.__traceback__)[-1]
            why = shown(f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}: {error}", 600)
        raise AttackError(named.label, why) from error


SIZES = ("batch", "chunk", "n_auxiliary", "max_system", "restarts")
"""Options of attacks that decide on their memory."""


def _smaller(attack: Attack) -> str:
    """What to change in an attack that ran out of memory, as a clause."""
    halves = [
        f"{name} = {value // 2}"
        for part in attack.parts
        for name in SIZES
        if isinstance(value := getattr(part, name, None), int) and value > 1
    ]
    less = f"try it with {' or '.join(halves)}, or" if halves else "try it"
    return f"{less} with fewer images of the attacker ([measure] auxiliary), or with more memory (--max-memory)"


def kept(
    attacks: Sequence[tuple[Named, Attack]], data: Splits, n_private: int, work: Path
) -> tuple[Reconstructions, dict[str, NDArray[np.float64]]]:
    """All private inputs with all reconstructions, and the score of each one by ``deployment/attack/metric``."""
    private = data.private.take(n_private)
    rebuilt, scores = dict[tuple[str, str], NDArray[Any]](), dict[str, NDArray[np.float64]]()
    for named, _ in attacks:
        path = _path(work, named).with_suffix(".npz")
        for name, array in read_arrays(path).items() if path.exists() else ():
            where, _, metric = name.partition("/")
            if metric:
                scores[f"{where}/{named.label}/{metric}"] = array
            else:
                rebuilt[where, named.label] = array
    telling = data.modality.most_telling(private.inputs, SHOWN)
    tiles = data.tiles if data.tiles and data.tiles[0] * data.tiles[1] <= n_private else None
    return Reconstructions(private.inputs.astype(np.float16), private.labels, telling, rebuilt, tiles), scores


def _check(images: torch.Tensor, wanted: tuple[int, ...]) -> None:
    """Refuse what is no reconstruction: another shape than the inputs, no finite numbers, or values outside [0, 1]."""
    if tuple(images.shape) != wanted:
        raise ConfigError(f"It gives {tuple(images.shape)} where {wanted} is needed.")
    diverged = int((~images.isfinite()).flatten(1).any(dim=1).sum())
    if diverged:
        raise ConfigError(f"It diverged: {diverged} of {len(images)} reconstructions hold what is no finite number.")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise ConfigError("It gives values outside [0, 1]; clamp its reconstructions.")


def _path(work: Path, named: Named) -> Path:
    """The files of a finished attack, without suffix; a hash, for options may hold what a file name may not."""
    return work / hashlib.sha256(named.key.encode()).hexdigest()[:16]
