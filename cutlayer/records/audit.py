"""The content of `audit.json`: what an audit ran, what it found, what it did not try, and of which files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isnan
from typing import Any

from cutlayer.errors import ConfigError, near
from cutlayer.records import condition as grammar
from cutlayer.records.condition import Condition
from cutlayer.records.expectation import ACCURACY, COSINE, IDENTIFIED, LEAKAGE, SAME_NEAREST
from cutlayer.records.run import (
    LEAST_CANDIDATES,
    AttackRecord,
    Ceiling,
    Estimate,
    FailedAttack,
    Flag,
    IdentificationRecord,
    Vectors,
    most_identified,
)
from cutlayer.registry import METRICS, STANDARD_METRICS

AUDIT_FILE, AUDIT_PAGE = "audit.json", "audit.html"
AUDIT_SCHEMA = 1

SIMULATED, RECORDED = "simulated", "tap"
"""What was attacked, as the deployment of the rows: releases of inputs of the kind, or what was really recorded."""

BUDGET, NO_ACCESS, DOES_NOT_APPLY = "budget", "access", "does not apply"
"""Why an attack was not tried."""

ACCESSES = ("QUERY_FREE", "BLACK_BOX", "WHITE_BOX")
"""Names in `cutlayer.attacks.view.Access`, from the least to the most."""

UNBOUNDED = "budget"
"""`Ceiling.none` where the time did not suffice to compute one."""

CEILING = "ceiling"


@dataclass(frozen=True)
class NotTried:
    """An attack that is registered and did not run.

    Attributes:
        attack: Its name.
        label: Its title with options.
        access: Name of the access that it needs.
        why: `BUDGET`, `NO_ACCESS` or `DOES_NOT_APPLY`.
        reason: A sentence.
    """

    attack: str
    label: str
    access: str
    why: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class TapFacts:
    """What a recorded tap held.

    Attributes:
        n: Number of inputs.
        n_releases: Releases of each.
        scored: Whether the truth was at hand; if not, the figures are those of simulated releases.
        rebuilt: Titles of the attacks that rebuilt its inputs.
    """

    n: int
    n_releases: int
    scored: bool
    rebuilt: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One condition of ``--fail-if``.

    Attributes:
        text: The condition.
        broken: Whether the audit fails by it: it holds, or its figure was not measured.
        says: A sentence with the figure.
    """

    text: str
    broken: bool
    says: str


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """What an audit found.

    Attributes:
        model: Model and cut of the split, as on the wire; of a foreign head, the file and its output.
        version: The hash in its `split.json`; empty for a foreign head.
        foreign: Whether all that was at hand is the file of a head.
        defense: Title of the defense with its options.
        defense_facts: What the defense states of itself.
        access: Name of the most access that could be had.
        access_says: What access was possible and what was not, in sentences.
        data: Name of the data set; the attackers hold its auxiliary part.
        n: Private inputs that were attacked.
        n_releases: Releases of each that the most patient attacker observed.
        auxiliary: Inputs that the attackers held.
        scored_on: `SIMULATED` or `RECORDED`.
        tap: The tap; None without one.
        accuracy: Right answers on what is sent; None where that cannot be measured, or the answers are vectors.
        accuracy_says: Why not; empty where it was.
        vectors: Where the answers are vectors, how near those on what is sent stay to those without the defense.
        attacks: Every attack that was scored.
        identification: How often each of them, and a watch list, picks an input from the candidates.
        failed: The attacks that failed.
        not_tried: The registered attacks that did not run.
        ceiling: What no attacker exceeds.
        flags: Signs that the audit itself is suspect.
        conditions: Those of ``--fail-if``.
        budget_s: The time that was allowed, in seconds.
        spent_s: The time that was taken, but for writing the page.
        verdict: One sentence, and a second one where the time did not suffice for all attacks.
        hashes: SHA-256 by file or part of the data, for ``split``, ``tap`` and ``data``.
        env: The command, code, packages and machine, as `cutlayer.machine.identity.environment` says them.
        notes: What a reader should know.
        modality: The kind of the inputs, see `cutlayer.data.modality`.
    """

    schema: int
    model: str
    version: str
    foreign: bool
    defense: str
    defense_facts: dict[str, Any]
    codec: str
    input: tuple[int, ...]
    smashed: tuple[int, ...]
    access: str
    access_says: str
    data: str
    seed: int
    n: int
    n_releases: int
    auxiliary: int
    scored_on: str
    tap: TapFacts | None
    accuracy: Estimate | None
    accuracy_says: str
    attacks: tuple[AttackRecord, ...]
    identification: tuple[IdentificationRecord, ...]
    failed: tuple[FailedAttack, ...]
    not_tried: tuple[NotTried, ...]
    ceiling: Ceiling
    flags: tuple[Flag, ...]
    conditions: tuple[Checked, ...]
    budget_s: float
    spent_s: float
    verdict: str
    hashes: dict[str, dict[str, str]]
    env: dict[str, Any]
    notes: tuple[str, ...] = ()
    modality: str = "image"
    vectors: Vectors | None = None

    def within(self, access: str) -> tuple[list[AttackRecord], list[IdentificationRecord]]:
        """The records of whoever has an access: those of attacks that need no more."""
        allowed = ACCESSES[: ACCESSES.index(access) + 1]
        return (
            [row for row in self.attacks if row.access in allowed],
            [found for found in self.identification if found.access in allowed],
        )

    def worst(self, access: str = ACCESSES[-1]) -> AttackRecord | None:
        """The attack that leaks most of those that need no more than an access; None where none was scored."""
        return max(self.within(access)[0], key=lambda row: row.leakage_gain.value, default=None)

    def identifies(self, access: str = ACCESSES[-1]) -> IdentificationRecord | None:
        """What identifies most inputs with no more than an access; None where none was scored, or among too few."""
        return most_identified([found for found in self.within(access)[1] if found.candidates >= LEAST_CANDIDATES])


def parse(text: str) -> Condition:
    """Read ``leakage > 0.5``, and refuse a figure that no audit has.

    Raises:
        ConfigError: It is no condition, or names an unknown figure.
    """
    condition = grammar.parse(text, ("", "%", "dB"), "'leakage > 0.5', 'identified >= 10%' or 'psnr > 20dB'")
    known = [ACCURACY, COSINE, SAME_NEAREST, CEILING, f"{CEILING}.{IDENTIFIED}", *STANDARD_METRICS]
    known += [f"{name}{suffix}" for name in (LEAKAGE, IDENTIFIED) for suffix in ("", *map(_suffix, ACCESSES))]
    if condition.metric not in known:
        raise ConfigError(f"--fail-if names the figure {condition.metric!r:.80}; {near(condition.metric, known)}")
    unit = METRICS.load(condition.metric).unit if condition.metric in STANDARD_METRICS else "%"
    unit = "" if condition.metric == COSINE else unit
    if condition.unit and condition.unit != unit:
        raise ConfigError(
            f"{condition.metric} is {f'in {unit}' if unit else 'without a unit'}; {condition.text!r} has another unit."
        )
    return condition


def checked(condition: Condition, record: AuditRecord) -> Checked:
    """Whether an audit fails by a condition: where it holds, or its figure was not measured."""
    value = figures(record)[condition.metric]
    if value is None:
        return Checked(
            text=condition.text, broken=True,
            says=f"{condition.metric} was not measured, so the audit fails: {condition.text!r} may hold.",
        )  # fmt: skip
    limit = condition.limit / 100 if condition.unit == "%" else condition.limit
    broken = condition.holds(value, limit)
    return Checked(
        text=condition.text, broken=broken,
        says=f"{condition.metric} is {value:z.3f}: {condition.text!r} "
        f"{'holds, so the audit fails' if broken else 'does not hold'}.",
    )  # fmt: skip


def figures(record: AuditRecord) -> dict[str, float | None]:
    """The figures by their names in a condition; None where one was not measured. Shares are from 0 to 1.

    A figure by access is that of whoever has the access, and is measured where an attack that needs it was run.

    ``ceiling`` and ``ceiling.identified`` are for whoever sees as many releases as the most patient attacker here, and
    1 where there is no ceiling, for then nothing bounds what others reach.
    """
    worst, bound = record.worst(), record.ceiling
    nearest = record.vectors.same_nearest if record.vectors else None
    at = bound.over(record.n_releases)
    found: dict[str, float | None] = {
        ACCURACY: record.accuracy.value if record.accuracy else None,
        COSINE: record.vectors.cosine.value if record.vectors else None,
        SAME_NEAREST: nearest.value if nearest else None,
        CEILING: at.leakage_gain.high if at else 1.0,
        f"{CEILING}.{IDENTIFIED}": at.identified.high if at else 1.0,
    }
    for access in ("", *ACCESSES):
        row, who = (record.worst(access), record.identifies(access)) if access else (worst, record.identifies())
        suffix = _suffix(access) if access else ""
        # What weaker attackers get says nothing of those whose attacks were not run, out of reach or for lack of time.
        needed = [one.access for one in record.attacks] + [one.access for one in record.identification]
        tried = not access or access in needed
        found[f"{LEAKAGE}{suffix}"] = row.leakage_gain.value if row and tried else None
        found[f"{IDENTIFIED}{suffix}"] = who.top_1.value if who and tried else None
    metrics: Mapping[str, Estimate] = worst.metrics if worst else {}
    for name in STANDARD_METRICS:
        of = metrics.get(name)
        found[name] = None if of is None else inf if isnan(of.value) and of.infinite else of.value
        if of is not None and isnan(of.value) and not of.infinite:
            found[name] = None
    return found


def _suffix(access: str) -> str:
    return "." + access.lower().replace("_", "-")
