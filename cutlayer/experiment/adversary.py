"""The attackers: what each may touch, and what they rebuild from the tap."""

import hashlib
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutlayer.attacks.base import Attack, fitted
from cutlayer.attacks.view import SMASHED, Access, Vantage, View
from cutlayer.bounded import read_arrays, read_json, reason
from cutlayer.data.legend import legend_of
from cutlayer.data.splits import Dataset, Splits
from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError, CutlayerError, WithheldError
from cutlayer.foreign import shown
from cutlayer.machine.memory import is_lack_of_memory
from cutlayer.metrics.nearness import distances
from cutlayer.models.kept import Say
from cutlayer.privacy.identification import candidates, identification
from cutlayer.privacy.releases import Releases
from cutlayer.privacy.score import Chosen, score
from cutlayer.privacy.view import observable, oracle, query_of, view, wire
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.files import delete, write_arrays, write_json
from cutlayer.records.reconstructions import Reconstructions
from cutlayer.records.run import PIXELS, WATCH_LIST, AttackRecord, FailedAttack, IdentificationRecord
from cutlayer.registry import ATTACKS
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import Half, SplitFolder
from cutlayer.tables import Named

ViewFor = Callable[[Named, Attack], View]
"""Gives all that an attack may touch."""

SHOWN = 12
"""Private images that a page shows: those with most contrast, for they say most to the eye."""


@dataclass(frozen=True)
class Achieved:
    """What attacks achieved: their reconstructions on each deployment, and how often they identify an input."""

    rows: tuple[AttackRecord, ...] = ()
    identification: tuple[IdentificationRecord, ...] = ()


def attacks(asked: Sequence[Named], defense: Defense) -> list[tuple[Named, Attack]]:
    """The attacks that are asked for, not yet fitted; those that average releases only where there is noise."""
    attacks = [(named, ATTACKS.make(named.name, **named.options)) for named in asked]
    return [(named, attack) for named, attack in attacks if defense.random or attack.n_releases == 1]


def watch_lists(
    attacks: Sequence[tuple[Named, Attack]], defense: Defense, granted: Access, vantage: Vantage
) -> list[tuple[Named, Attack]]:
    """The watch lists that are played beside the attacks that are asked for.

    Every run plays them, because the worst case must not depend on what a plan names: on one release, and on as many as
    another attack waits for; by the likelihood where the noise has a stated law and the head is granted. A plan that
    names a watch list itself, say with fewer queries of a defense that takes long for each, gets that one in its place,
    and the others try as hard as that one.
    """
    if granted < Access.BLACK_BOX or SMASHED not in vantage.sees:
        return []
    stated = any((part.random or part.on) and type(part).density is not Defense.density for part in defense.parts)
    law = {"likelihood": True} if stated and granted >= Access.WHITE_BOX else {}
    most = max([1, *(attack.n_releases for _, attack in attacks)])
    own = [named for named, _ in attacks if named.name == "watch-list"]
    trying = {name: value for named in own[:1] for name, value in named.options.items() if name not in _GAME}
    listed = [
        Named("watch-list", {**trying, **({"n_releases": n} if n > 1 else {}), **law}) for n in dict.fromkeys((1, most))
    ]
    played = [_game(named) for named in own]
    return [(named, ATTACKS.make(named.name, **named.options)) for named in listed if _game(named) not in played]


_GAME = MappingProxyType({"n_releases": 1, "likelihood": False})
"""What a watch list observes and knows, with the defaults; its other options only say how hard it tries."""


def _game(watch_list: Named) -> list[Any]:
    return [watch_list.options.get(name, default) for name, default in _GAME.items()]


def check_granted(attacks: Sequence[Named], granted: Access, vantage: Vantage, servers: int = 1) -> None:
    """Refuse an attack that needs more access than is granted, or sees what nobody sees from where the attacker sits.

    Raises:
        ConfigError: The place grants more than the access that is stated.
        WithheldError: The first such attack, with what it needs and what is granted.
    """
    if granted < vantage.least:
        raise ConfigError(
            f"At the vantage {vantage.name} the attacker has {vantage.least.label} access at least; {granted.label} is "
            "stated."
        )
    for named in attacks:
        chosen = ATTACKS.make(named.name, **named.options)
        if chosen.needs > granted:
            raise WithheldError(
                f"The attack {named.label} needs {chosen.needs.label} access, and {granted.label} access is granted; "
                "leave the attack out, or grant more with access."
            )
        # A floor observes nothing.
        unseen = [part.sees for part in chosen.parts if not part.is_floor and part.sees not in vantage.sees]
        if unseen:
            raise WithheldError(
                f"The attack {named.label} observes the {unseen[0]} of each message, and at the vantage {vantage.name} "
                f"{' and '.join(vantage.sees)} are seen; leave the attack out, or choose another vantage."
            )
        if servers > 1 and chosen.n_releases > servers:
            raise WithheldError(
                f"The attack {named.label} needs {chosen.n_releases} releases of one input, and {servers} servers get "
                "one each; leave the attack out, or raise measure.servers."
            )


def check_rebuild(attacks: Sequence[Named], data: Splits) -> None:
    """Refuse an attack that cannot rebuild the kind of inputs that the data hold.

    Raises:
        ConfigError: The first such attack, with those that can.
    """
    kind = data.modality.name
    for named in attacks:
        chosen = ATTACKS.make(named.name, **named.options)
        if part := next((part for part in chosen.parts if kind not in part.rebuilds), None):
            able = ", ".join(name for name in ATTACKS if all(kind in one.rebuilds for one in ATTACKS.make(name).parts))
            why, instead = "does not rebuild", "choose from"
            if part is not chosen:
                why, instead = (
                    f"begins with {type(part).__name__}, which does not rebuild",
                    "begin with, or choose from",
                )
            raise ConfigError(
                f"The attack {named.label} {why} {data.modality.one[1]}, which {data.name} has; {instead} {able}."
            )


def viewer(
    split: SplitFolder,
    head: Half,
    defense: Defense,
    auxiliary: Dataset,
    *,
    codec: str,
    seed: int,
    key: str,
    vantage: Vantage,
) -> ViewFor:
    """What each attack may touch of a deployed split, with draws of its own for the queries of each.

    Args:
        split: The split folder. Where it has no halves in torch, the views withhold both.
        head: Its head, which may remember what it computed.
        defense: Its defense, ready to protect.
        auxiliary: The attackers' own images.
        codec: Name of the codec on the wire.
        seed: Seed of the attackers' random choices, and with the attack that of the draws.
        key: Name and options of the defense; with `seed`, the seed of the draws that attacks share where the defense is
            slow.
        vantage: Where the attackers sit.
    """
    halves = split.halves() if split.has_halves else None
    in_torch = (None, None) if halves is None else (halves.tail, halves.head)
    seed_of: Callable[[str], list[int]] = lambda text: [seed, *text.encode()]  # noqa: E731
    length = split.manifest.length
    shared = Releases(wire(head, defense, codec, seed_of(key), length), repeats=False) if defense.slow else None

    once = defaultdict[str, dict[Any, Any]](dict)  # an attack that others contain is fitted once, to what it observes

    def view_for(named: Named, attack: Attack) -> View:
        if shared and attack.sees == SMASHED:
            query = oracle(shared.reader())
        else:
            query = query_of(attack.sees, head, defense, codec, seed_of(named.key), in_torch[1], length)
        return view(
            attack.needs, input=split.manifest.input, smashed=observable(attack.sees, split.manifest.smashed),
            auxiliary=auxiliary, query=query, defense=defense, tail=in_torch[0], head=in_torch[1], seed=seed,
            vantage=vantage, kept=once[attack.sees],
        )  # fmt: skip

    return view_for


def attack_all(
    attacks: Sequence[tuple[Named, Attack]],
    view_for: ViewFor,
    seen: Mapping[str, Mapping[str, NDArray[np.float32]]],
    truth: Splits | None,
    metrics: Chosen,
    work: Path,
    say: Say,
) -> tuple[Achieved, list[FailedAttack]]:
    """Run every attack, in a run and on a recorded tap alike; one that fails does not stop the others.

    Args:
        attacks: The attacks, not yet fitted.
        view_for: Gives all that an attack may touch.
        seen: What passed in each deployment, by its label and by what an attack observes, ``(n_releases, N, ...)``.
        truth: See `attack`, as the further arguments.
        metrics: Likewise.
        work: Likewise.
        say: Likewise.

    Returns:
        What the attacks that worked achieved, and those that failed with the reason.

    Raises:
        ConfigError: All of them failed.
    """
    achieved, failed = Achieved(), list[FailedAttack]()
    for named, chosen in attacks:
        released = {label: observed[chosen.sees] for label, observed in seen.items()}
        try:
            least = min(len(arrived) for arrived in released.values())
            if least < chosen.n_releases:
                raise AttackError(
                    named.label, f"It wants {chosen.n_releases} releases of each input, and {least} were observed."
                )
            of_one = attack(named, chosen, view_for(named, chosen), released, truth, metrics, work, say)
            achieved = Achieved(achieved.rows + of_one.rows, achieved.identification + of_one.identification)
        except AttackError as error:
            say(str(error))
            failed.append(FailedAttack(
                attack=ATTACKS.label(named.name), label=named.label, access=chosen.needs.name, reason=error.reason
            ))  # fmt: skip
    if attacks and len(failed) == len(attacks):
        raise ConfigError("No attack worked. " + " ".join(f"{entry.label}: {entry.reason}" for entry in failed))
    return achieved, failed


def attack(
    named: Named,
    attack: Attack,
    seen: View,
    released: Mapping[str, NDArray[np.float32]],
    truth: Splits | None,
    metrics: Chosen,
    work: Path,
    say: Say,
) -> Achieved:
    """Fit once, rebuild the private images from what arrived in each deployment, look for them among others, score.

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
        Records for each deployment; none where the truth is unknown.

    Raises:
        AttackError: The attack failed.
    """
    path = _path(work, named).with_suffix(".json")
    if path.exists():
        try:
            read_arrays(path.with_suffix(".npz"))  # needed at the end
            return load(Achieved, read_json(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"the records of {named.label} are damaged ({reason(error)}): attacking again")
            for damaged in (path, path.with_suffix(".npz")):
                delete(damaged)
    say(f"attacking with {named.label}")
    start = time.perf_counter()
    with failing(named, attack):
        attack = fitted(attack, seen)
    fit_s = time.perf_counter() - start
    rows, found, arrays = list[AttackRecord](), list[IdentificationRecord](), dict[str, NDArray[Any]]()

    def look_up(where: str, scores: torch.Tensor, truth: Splits, how: str, seconds: float = 0.0) -> None:
        record, ranks = identification(
            scores, truth, attack=ATTACKS.label(named.name), label=named.label, access=attack.needs.name,
            deployment=where, n_releases=attack.n_releases, how=how,
        )  # fmt: skip
        found.append(replace(record, seconds=seconds))
        arrays[f"{where}/rank, {how}"] = ranks

    for where, arrived in released.items() if attack.reconstructs else ():
        start = time.perf_counter()
        with failing(named, attack):
            images = attack.invert_releases(torch.from_numpy(arrived[: attack.n_releases]).to(seen.device))
            images = images.to(getattr(torch, seen.input.dtype)).cpu()
            _check(images, arrived.shape[1], seen.input)
        invert_s = time.perf_counter() - start
        arrays[where] = images.numpy().astype(seen.auxiliary.modality.kept)
        if truth is None:
            continue
        scored = score(images, truth, seen.seed, metrics)
        arrays |= {f"{where}/{metric}": scores for metric, scores in scored.per_input.items()}
        rows.append(AttackRecord(
            attack=ATTACKS.label(named.name), label=named.label, access=attack.needs.name, deployment=where,
            n_releases=attack.n_releases, fit_s=fit_s, invert_s=invert_s, n=scored.n, metrics=scored.metrics,
            leakage_gain=scored.leakage_gain, columns=scored.columns,
        ))  # fmt: skip
        look_up(where, -distances(images, candidates(truth)), truth, PIXELS)
    if truth is not None and type(attack).identify is not Attack.identify:
        # What arrived in all deployments at once: the attack encodes each candidate once.
        together = np.concatenate([arrived[: attack.n_releases] for arrived in released.values()], 1)
        start, spent_s = time.perf_counter(), 0.0 if attack.reconstructs else fit_s
        with failing(named, attack):
            scores = attack.identify(torch.from_numpy(together).to(seen.device), candidates(truth).to(seen.device))
            _check_scores(scores, (together.shape[1], len(candidates(truth))))
        spent_s += time.perf_counter() - start
        for where, part in zip(released, scores.split([a.shape[1] for a in released.values()]), strict=True):
            look_up(where, part, truth, WATCH_LIST, spent_s)
            spent_s = 0.0  # it was done for all at once
    achieved = Achieved(tuple(rows), tuple(found))
    write_arrays(path.with_suffix(".npz"), arrays)
    write_json(path, dump(achieved))
    return achieved


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
    return f"{less} with fewer inputs of the attacker ([measure] auxiliary), or with more memory (--max-memory)"


Rebuilt = dict[tuple[str, str], NDArray[Any]]
"""Reconstructions by deployment and label of the attack."""


def kept(
    attacks: Sequence[tuple[Named, Attack]], data: Splits, n_private: int, work: Path
) -> tuple[Reconstructions, dict[str, NDArray[np.float64]]]:
    """All private inputs with all reconstructions, and the score of each one by ``deployment/attack/metric``."""
    private = data.private.take(n_private)
    rebuilt, scores = finished(attacks, work)
    telling = data.modality.most_telling(private.inputs, SHOWN)
    tiles = data.tiles if data.tiles and data.tiles[0] * data.tiles[1] <= n_private else None
    originals = private.inputs.astype(data.modality.kept)
    legend = legend_of(data, [originals, *rebuilt.values()]).text()
    return Reconstructions(originals, private.labels, telling, rebuilt, tiles, legend), scores


def finished(attacks: Sequence[tuple[Named, Attack]], work: Path) -> tuple[Rebuilt, dict[str, NDArray[np.float64]]]:
    """What `attack` left of each attack that did not fail: the reconstructions, and the scores."""
    rebuilt, scores = Rebuilt(), dict[str, NDArray[np.float64]]()
    for named, _ in attacks:
        path = _path(work, named).with_suffix(".npz")
        for name, array in read_arrays(path).items() if path.exists() else ():
            where, _, metric = name.partition("/")
            if metric:
                scores[f"{where}/{named.label}/{metric}"] = array
            else:
                rebuilt[where, named.label] = array
    return rebuilt, scores


def _check(images: torch.Tensor, n: int, input: TensorSpec) -> None:
    """Refuse what is no reconstruction: another shape than the inputs, no finite numbers, or values out of range."""
    wanted = (n, *input.shape)
    if tuple(images.shape) != wanted:
        raise ConfigError(f"It gives {tuple(images.shape)} where {wanted} is needed.")
    diverged = int((~images.isfinite()).flatten(1).any(dim=1).sum())
    if diverged:
        raise ConfigError(f"It diverged: {diverged} of {len(images)} reconstructions hold what is no finite number.")
    low, high = (0.0 if input.low is None else input.low), (1.0 if input.high is None else input.high)
    if not bool(((images >= low) & (images <= high)).all()):
        raise ConfigError(f"It gives values outside [{low:g}, {high:g}]; clamp its reconstructions.")


def _check_scores(scores: torch.Tensor, wanted: tuple[int, int]) -> None:
    """Refuse scores of candidates that have another shape, or are no numbers."""
    if tuple(scores.shape) != wanted:
        raise ConfigError(f"It gives scores of shape {tuple(scores.shape)} where {wanted} is needed.")
    if bool(scores.isnan().any()):
        raise ConfigError("It diverged: a score is no number.")


def _path(work: Path, named: Named) -> Path:
    """The files of a finished attack, without suffix; a hash, for options may hold what a file name may not."""
    return work / hashlib.sha256(named.key.encode()).hexdigest()[:16]
