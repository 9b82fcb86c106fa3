"""An audit of a split within a time: what an attacker with which access gets, what nobody exceeds, what was not tried.

The releases are what the device's own pipeline gives, without a device, a server or a socket; or what a tap holds of
real devices, where the truth behind it is known. Where it is not, the tap's inputs are rebuilt for the eye, and the
same attacks are scored on data of the kind.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import CLOUD, LENGTHS, SMASHED, Access
from cutlayer.cloud.tap import BYTES, RECORDS
from cutlayer.data.legend import Legend, legend_of
from cutlayer.data.overlap import check_apart
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import Defense, deployed
from cutlayer.edge.pipeline import Pipeline
from cutlayer.errors import ConfigError, SplitError
from cutlayer.experiment import adversary, flags
from cutlayer.experiment.adversary import SHOWN, Achieved, AttackError, Rebuilt, ViewFor, failing
from cutlayer.experiment.affordable import LISTED, REHEARSED_S, Purse, Subject, afforded, ladder, on_what_ran
from cutlayer.experiment.enough import check_asked, check_enough
from cutlayer.experiment.offline import attackers_data, defense_named
from cutlayer.experiment.recorded import Seen, read_tap, read_truth
from cutlayer.machine.compute import tune_allocator
from cutlayer.machine.identity import environment
from cutlayer.metrics.interval import proportion
from cutlayer.metrics.vectors import vectors
from cutlayer.models.hugging_face import gives_vectors
from cutlayer.models.kept import Say
from cutlayer.models.manifest import MANIFEST, sha256, tail_name
from cutlayer.own import in_folder
from cutlayer.privacy.ceiling import ceiling
from cutlayer.privacy.identification import candidates
from cutlayer.privacy.releases import MOST_BYTES, Releases
from cutlayer.privacy.score import NO_MORE
from cutlayer.privacy.view import watched, wire
from cutlayer.progress import rehearsed
from cutlayer.records.audit import (
    AUDIT_SCHEMA,
    RECORDED,
    SIMULATED,
    UNBOUNDED,
    AuditRecord,
    NotTried,
    TapFacts,
    checked,
)
from cutlayer.records.condition import Condition
from cutlayer.records.run import Ceiling, Estimate, FailedAttack, Vectors
from cutlayer.registry import ATTACKS
from cutlayer.report.audit.verdict import verdict
from cutlayer.split_folder import Half, SplitFolder
from cutlayer.tables import Named
from cutlayer.wire.codecs.packed import codec_named

FACTS_FROM = 256
"""The attackers' inputs from whose smashed data a defense states facts."""
TESTS = 500
"""Test inputs that measure the accuracy, at most."""
ROOM = 1.5
"""How much more than the time before the first attack the smallest budget is that is advised."""


@dataclass(frozen=True)
class Pictures:
    """What the page shows of a few inputs.

    Attributes:
        originals: ``(K, *input.shape)``, the true inputs, those with most contrast.
        rebuilt: The reconstructions of the same by the title of the attack.
        recorded: Those of the first inputs of a tap whose truth is unknown; empty otherwise.
        legend: What the numbers of an input stand for.
    """

    originals: NDArray[Any]
    rebuilt: Mapping[str, NDArray[Any]]
    recorded: Mapping[str, NDArray[Any]]
    legend: Legend


@dataclass(frozen=True)
class Evidence:
    """What the attackers observe, and the truth.

    Attributes:
        where: `SIMULATED` or `RECORDED`, whichever is scored.
        seen: What passed of each scored input.
        truth: The data, whose private part are these inputs.
        n: Number of these inputs.
        codec: Name of the codec.
        unscored: What passed of inputs whose truth is unknown; None where there are none.
        tap: What a tap held.
        notes: What a reader should know of the data and the tap.
    """

    where: str
    seen: Seen
    truth: Splits
    n: int
    codec: str
    unscored: Seen | None
    tap: TapFacts | None
    notes: tuple[str, ...]

    @property
    def n_releases(self) -> int:
        """Releases of each scored input."""
        return len(self.seen[SMASHED])


def audit(
    split: SplitFolder,
    data: str,
    *,
    budget_s: float,
    say: Say,
    foreign: bool = False,
    tap: Path | None = None,
    truth: Path | None = None,
    codec: str = "",
    count: int = 200,
    auxiliary: int = 2000,
    releases: int = 4,
    seed: int = 0,
    data_root: Path | None = None,
    conditions: Sequence[Condition] = (),
    begin_s: float | None = None,
) -> tuple[AuditRecord, Pictures]:
    """Attack a split with all that a budget affords, cheapest first.

    Args:
        split: The split folder.
        data: Name or path of data of the kind: the attackers hold its auxiliary part.
        budget_s: Seconds for the whole audit.
        say: Called when there is work to do.
        foreign: Whether the folder was made from the file of a head alone.
        tap: Folder that `cutlayer cloud --tap` wrote.
        truth: What its requests carried, see `cutlayer.experiment.recorded.read_truth`.
        codec: Name of the codec; what the requests of the tap say, or ``raw``, if empty.
        count: Inputs that are attacked, at most.
        auxiliary: Inputs of the attackers; 0 for all.
        releases: Simulated releases of each input that the most patient attacker observes, where they differ.
        seed: Seed of the data's parts, the noise, the attackers and the intervals.
        data_root: Folder of the data sets that are not embedded.
        conditions: What the audit fails by.
        begin_s: When the budget began, by `time.perf_counter`; now if None.

    Raises:
        SplitError: The tap was recorded for another split.
        DataError: The tap, the data or the truth is missing or damaged, or does not belong to the others; or the data
            are too few, see `cutlayer.experiment.enough`.
        ConfigError: Something else cannot work, or the budget suffices for nothing.
    """
    purse = Purse(budget_s, time.perf_counter() if begin_s is None else begin_s)
    tune_allocator()
    manifest, defense = split.manifest, deployed(split)
    if len(manifest.data_inputs) > 1:
        raise ConfigError(f"Attacks rebuild one input, and the head of {split.path} takes {len(manifest.data_inputs)}.")
    check_asked(auxiliary)
    held = attackers_data(data, split, auxiliary, seed, data_root)
    check_enough(held, private=tap is None or truth is None)
    head = Releases(split.head(threads=torch.get_num_threads()), repeats=True, most_bytes=MOST_BYTES).reader()
    found = _evidence(split, defense, head, held, foreign, tap, truth, codec, count, releases, seed)
    for note in found.notes:
        say(note)
    subject = Subject(split, defense, found.codec, found.n_releases, foreign, found.truth.modality.name)
    named = defense_named(manifest)
    view_for = adversary.viewer(
        split, head, defense, found.truth.auxiliary, codec=found.codec, seed=seed, key=named.key, vantage=CLOUD
    )
    with tempfile.TemporaryDirectory(prefix="cutlayer-") as work:
        played = _Play(found, view_for, Path(work), say)
        bound = _play_all(played, subject, purse, head, seed)
        rebuilt = played.rebuilt()
    accuracy, near, why = _useful(split, defense, head, held, found.codec, seed)
    facts = dict(defense.facts(head(held.auxiliary.inputs[:FACTS_FROM])))
    scored, shown = rebuilt
    facts_of_tap = found.tap and replace(found.tap, rebuilt=tuple(label for _, label in shown))
    achieved = played.achieved
    beside_floors = [row for row in achieved.rows if not ATTACKS.load(row.attack).is_floor]
    raised = *flags.order(beside_floors), *flags.above_ceiling(achieved, bound), *flags.failures(played.failed)
    record = AuditRecord(
        schema=AUDIT_SCHEMA, model=tail_name(manifest), version="" if foreign else manifest.version, foreign=foreign,
        defense=named.label, defense_facts=facts, codec=found.codec, input=manifest.input.shape,
        smashed=manifest.smashed.shape, access=subject.granted.name, access_says=_access(subject), data=held.name,
        seed=seed, n=found.n, n_releases=found.n_releases, auxiliary=len(held.auxiliary), scored_on=found.where,
        tap=facts_of_tap, accuracy=accuracy, accuracy_says=why, attacks=achieved.rows,
        identification=achieved.identification, failed=tuple(played.failed), not_tried=tuple(played.not_tried),
        ceiling=bound, flags=raised, conditions=(), budget_s=budget_s, spent_s=0.0, verdict="",
        hashes=_hashes(split, tap, data, held, found), notes=found.notes,
        env=environment(edge=torch.get_num_threads(), cloud=torch.get_num_threads()),
        modality=found.truth.modality.name, vectors=near,
    )  # fmt: skip
    judged = tuple(checked(condition, record) for condition in conditions)
    record = replace(record, verdict=verdict(record), conditions=judged, spent_s=purse.spent_s)
    return record, _pictures(found, scored, shown)


def _evidence(
    split: SplitFolder, defense: Defense, head: Half, held: Splits, foreign: bool, tap: Path | None,
    truth: Path | None, codec: str, count: int, releases: int, seed: int,
) -> Evidence:  # fmt: skip
    """What is attacked: the tap where its truth is known, and simulated releases otherwise."""
    notes, facts, unscored = list(held.notes), None, None
    if tap is not None:
        known = None if truth is None else read_truth(truth)
        seen, codec, said = read_tap(
            tap, split.manifest, codec=codec, truth=known, count=count, whole_split=not foreign
        )
        n_releases, n = seen[SMASHED].shape[:2]
        facts, notes = TapFacts(n=n, n_releases=n_releases, scored=known is not None), [*notes, *said]
        if known is not None:
            answer = known.of(held, n)
            check_apart(answer, n)
            return Evidence(RECORDED, seen, answer, n, codec, None, facts, tuple(notes))
        unscored = seen
        notes.append(
            "The truth behind the tap is not at hand (--truth): what is rebuilt of it is shown and not scored, and the "
            "figures are of the same attacks on releases that were simulated for data of the kind. A figure of the tap "
            "itself, and whether an input of it is identified, cannot be had without the truth."
        )
        notes.append("Nothing in a tap tells which requests carry the same input: each counts as one of its own.")
    codec = codec or "raw"
    check_apart(held, count)
    private, times = held.private.take(count), releases if defense.random else 1
    sees = [SMASHED, *([LENGTHS] if "+" in codec else [])]
    sent = {kind: watched(kind, head, defense, codec, [seed, *b"device"], split.manifest.length) for kind in sees}
    observed = {kind: np.stack([send(private.inputs) for _ in range(times)]) for kind, send in sent.items()}
    return Evidence(SIMULATED, observed, held, len(private), codec, unscored, facts, tuple(notes))


class _Play:
    """The attacks of an audit, one after the other.

    Attributes:
        found: What they observe.
        say: Called when there is work to do.
        achieved: The figures of those that worked.
        failed: Those that failed.
        not_tried: Those that did not run.
        done: Those that worked, with the steps that they made.
        ran: The first of these by the name of the attack.
        too_dear: Names of attacks for which the time did not suffice.
        played: Keys of all that had their turn.
    """

    def __init__(self, found: Evidence, view_for: ViewFor, work: Path, say: Say) -> None:
        self.found, self._view_for, self.say = found, view_for, say
        self._scored, self._shown = work / "scored", work / "shown"
        self.achieved, self.failed = Achieved(), list[FailedAttack]()
        self.not_tried, self.done = list[NotTried](), list[tuple[Named, Attack]]()
        self.ran, self.too_dear, self.played = dict[str, Named](), set[str](), set[str]()

    def play(self, named: Named, purse: Purse) -> None:
        """Run an attack with as many steps as can be afforded, or say why not."""
        named = on_what_ran(named, self.ran, self.too_dear)
        if named.key in self.played:
            return  # begun with another attack than usual, it is one that had its turn
        self.played.add(named.key)
        attack = ATTACKS.make(named.name, **named.options)
        try:
            with failing(named, attack):
                observed = torch.from_numpy(self.found.seen[attack.sees])
                chosen = afforded(
                    named,
                    self._view_for(named, attack),
                    observed,
                    candidates(self.found.truth),
                    purse,
                    self.ran,
                    self.too_dear,
                )
            if isinstance(chosen, NotTried):
                self.not_tried.append(chosen)
                self.too_dear.add(named.name)
                return
            named, attack = chosen, ATTACKS.make(chosen.name, **chosen.options)
            seen = {self.found.where: self.found.seen[attack.sees]}
            of_one = adversary.attack(
                named, attack, self._view_for(named, attack), seen, self.found.truth, NO_MORE, self._scored, self.say
            )
        except AttackError as error:
            self.say(str(error))
            self.failed.append(FailedAttack(
                attack=ATTACKS.label(named.name), label=named.label, access=attack.needs.name, reason=error.reason
            ))  # fmt: skip
            return
        self.achieved = Achieved(self.achieved.rows + of_one.rows, self.achieved.identification + of_one.identification)
        self.done.append((named, attack))
        self.ran.setdefault(named.name, named)
        self._show(named, attack)

    def _show(self, named: Named, attack: Attack) -> None:
        """Rebuild the first inputs of a tap whose truth is unknown; what was fitted is not fitted again."""
        if self.found.unscored is None or not attack.reconstructs or attack.n_releases > 1 or attack.is_floor:
            return
        few = {RECORDED: self.found.unscored[attack.sees][:, :SHOWN]}
        again = ATTACKS.make(named.name, **named.options)
        try:
            adversary.attack(
                named, again, self._view_for(named, again), few, None, NO_MORE, self._shown, lambda text: None
            )
        except AttackError as error:
            self.say(f"On the tap, {error}")

    def rebuilt(self) -> tuple[Rebuilt, Rebuilt]:
        """What was rebuilt of the scored inputs, and of those of the tap that are not."""
        scored, shown = (adversary.finished(self.done, place)[0] for place in (self._scored, self._shown))
        return scored, shown


def _play_all(play: _Play, subject: Subject, purse: Purse, head: Half, seed: int) -> Ceiling:
    """Run what can be afforded in the order of the ladder, and compute the ceiling before the watch lists."""
    found, defense = play.found, subject.defense
    asked = [Named("averaging", {"n_releases": found.n_releases})] if found.n_releases > 1 else []
    beside = adversary.attacks(asked, defense)
    lists = [adversary.watch_lists(beside, defense, access, CLOUD) for access in (subject.granted, Access.BLACK_BOX)]
    by_key = {named.key: named for of_access in lists for named, _ in of_access}
    bound: Ceiling | None = None
    for entry in ladder(subject, list(by_key.values())):
        if isinstance(entry, NotTried):
            play.not_tried.append(entry)
            continue
        if bound is None and entry.name == LISTED:
            bound = _ceiling(defense, head, found, purse, seed, play.say)
        if not play.done and purse.left_s <= 0:
            raise ConfigError(
                f"A budget of {purse.seconds:.3g} s is too small for anything: before the first attack, reading the "
                f"split and the data and preparing what is sent took {purse.spent_s:.1f} s on this machine; the "
                f"smallest budget that leaves room for an attack is about {np.ceil(ROOM * purse.spent_s):.0f}s."
            )
        play.play(entry, purse)
    if not play.done:
        raise ConfigError("No attack worked. " + " ".join(f"{entry.label}: {entry.reason}" for entry in play.failed))
    return bound or Ceiling(UNBOUNDED)


def _ceiling(defense: Defense, head: Half, found: Evidence, purse: Purse, seed: int, say: Say) -> Ceiling:
    """The ceiling, where the time suffices for it."""
    with rehearsed(most_s=REHEARSED_S) as clock:
        begin_s = clock.now_s()
        bound = ceiling(defense, head, found.truth, found.n, seed)
        seconds = clock.now_s() - begin_s
    if bound.none:
        return bound  # there is none, which takes no time to find out
    if seconds > purse.left_s:
        return Ceiling(UNBOUNDED)
    say("computing the ceiling")
    return ceiling(defense, head, found.truth, found.n, seed)


def _access(subject: Subject) -> str:
    """What access was possible, in sentences."""
    if subject.granted is Access.WHITE_BOX:
        return (
            "Every access was possible: the device's half and the server's half are at hand, with the settings of the "
            "defense."
        )
    return f"White-box access was not possible. {subject.without_halves} Black-box attacks and a watch list could run."


def _useful(
    split: SplitFolder, defense: Defense, head: Half, held: Splits, codec: str, seed: int
) -> tuple[Estimate | None, Vectors | None, str]:
    """Right answers of the tail on what is sent, or how near its vectors stay; and why neither can be measured."""
    if not split.has_tail:
        return None, None, "There is no tail."
    of_vectors = _of_vectors(split)
    if split.manifest.classes != len(held.classes) and not of_vectors:
        return None, None, "The classes of the data are others than the model's."
    test = held.test.take(TESTS)
    draws, tail = [seed, *b"accuracy"], split.tail()
    if defense.mends:
        device = Pipeline(head, defense, codec_named(codec), split.manifest.length)
        answers = device.answers(tail, test.inputs, np.random.default_rng(draws))
    else:
        answers = tail(wire(head, defense, codec, draws, split.manifest.length)(test.inputs))
    if of_vectors:
        return None, vectors(answers, tail(head(test.inputs)), seed), ""
    return proportion(int((answers.argmax(axis=1) == test.labels).sum()), len(test)), None, ""


def _of_vectors(split: SplitFolder) -> bool:
    """Whether the split is of a language model in a folder that answers with vectors."""
    if not (in_folder(split.manifest.model) and split.has_halves):
        return False
    with contextlib.suppress(ConfigError, SplitError):  # the folder of the model may lie elsewhere
        return gives_vectors(split.halves().tail)
    return False


def _hashes(
    split: SplitFolder, tap: Path | None, data: str, held: Splits, found: Evidence
) -> dict[str, dict[str, str]]:
    """SHA-256 of all that the figures rest on."""
    of_split = {name: sha256(split.file(name)) for name in split.manifest.files} | {
        MANIFEST: sha256(split.path / MANIFEST)
    }
    of_data = {
        "attacked inputs": _digest(found.truth.private.take(found.n).inputs),
        "auxiliary inputs": _digest(held.auxiliary.inputs),
        "test inputs": _digest(held.test.take(TESTS).inputs),
    }
    if Path(data).is_file():
        of_data[Path(data).name] = sha256(Path(data))
    of_tap = {} if tap is None else {name: sha256(tap / name) for name in (BYTES, RECORDS)}
    return {"split": of_split, **({"tap": of_tap} if of_tap else {}), "data": of_data}


def _digest(array: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _pictures(found: Evidence, scored: Rebuilt, shown: Rebuilt) -> Pictures:
    """Those with most contrast of what was rebuilt and scored, and the first of what could not be scored."""
    private, modality = found.truth.private.take(found.n), found.truth.modality
    telling = modality.most_telling(private.inputs, SHOWN)
    chosen = {label: rebuilt[telling] for (_, label), rebuilt in scored.items()}
    recorded = {label: rebuilt for (_, label), rebuilt in shown.items()}
    legend = legend_of(found.truth, [private.inputs[telling], *chosen.values(), *recorded.values()])
    return Pictures(private.inputs[telling], chosen, recorded, legend)
