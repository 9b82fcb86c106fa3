"""The verdict of an audit, in one sentence, and in a second one what was not tried for lack of time."""

from __future__ import annotations

from cutlayer.data.modality import TOKENS
from cutlayer.progress import words
from cutlayer.records.audit import ACCESSES, BUDGET, NO_ACCESS, UNBOUNDED, AuditRecord
from cutlayer.records.run import WATCH_LIST, CeilingAt, IdentificationRecord
from cutlayer.report.kit.wording import IDENTIFIED, LEAKAGE_GAIN, access_name

FLOORS = frozenset(("mean-image", "marginal", "token-frequency"))
"""The attacks that look at nothing, by the kinds of inputs."""
MUCH = 0.5
"""Leakage gain, or share of inputs that are identified, from which on a split gives its inputs away."""


def verdict(record: AuditRecord) -> str:
    """What the audit comes to: who gets what, or what nobody gets, and what was not tried for lack of time."""
    return _found(record) + _left(record)


def untried(record: AuditRecord, access: str) -> str:
    """Why no attack that needs an access was run: `BUDGET` or `NO_ACCESS`; empty where one was, or neither was why."""
    if ACCESSES.index(access) > ACCESSES.index(record.access):
        return NO_ACCESS
    whys = {entry.why for entry in record.not_tried if entry.access == access}
    tried = ran(record, access) or any(failed.access == access for failed in record.failed)
    return "" if tried else next((why for why in (BUDGET, NO_ACCESS) if why in whys), "")


def ran(record: AuditRecord, access: str) -> set[str]:
    """Titles of the attacks that need an access and were scored, but for those that look at nothing."""
    tried = [(one.access, one.attack, one.label) for one in record.attacks]
    tried += [(one.access, one.attack, one.label) for one in record.identification]
    return {label for needs, attack, label in tried if needs == access and attack not in FLOORS}


def _left(record: AuditRecord) -> str:
    """What the time did not suffice for, as a sentence."""
    n = sum(entry.why == BUDGET for entry in record.not_tried)
    if not n:
        return ""
    none_of = [access_name(access) for access in ACCESSES if untried(record, access) == BUDGET]
    all_of = f", among them all that need {' or '.join(none_of)} access" if none_of else ""
    return f" {n} attack{'s were' if n > 1 else ' was'} not tried for lack of time{all_of}."


def _found(record: AuditRecord) -> str:
    """Who gets what, or what nobody gets."""
    worst, who = record.worst(), record.identifies()
    leaks = worst is not None and worst.leakage_gain.value >= MUCH
    named = who is not None and who.top_1.value >= MUCH
    if leaks or named:
        return f"This split gives its inputs away: {_gets(record, rebuilt=leaks, named=named)}."
    tried = f"nothing that was tried within {words(record.budget_s)} got far: {_gets(record)}"
    at = record.ceiling.over(record.n_releases)
    if at is None:
        return (
            f"This audit does not show that the split is safe: {tried}, and no ceiling bounds what others could reach, "
            f"for {no_ceiling(record)}."
        )
    bound, seen = _bound(at), f"{at.n_releases} release{'s'[: at.n_releases > 1]} of an input"
    if max(at.leakage_gain.high, at.identified.high) >= MUCH:
        return (
            f"This audit does not show that the split is safe: {tried}, but an attacker who sees {seen} may get "
            f"as far as {bound}."
        )
    return (
        f"With 95 % confidence and under the assumptions of the ceiling, nobody who sees at most {seen} gets further "
        f"than {bound}; {tried}."
    )


def _gets(record: AuditRecord, *, rebuilt: bool = True, named: bool = True) -> str:
    """What the worst attacks reached."""
    worst, who, parts = record.worst(), record.identifies(), list[str]()
    if worst is not None and rebuilt:
        parts.append(
            f"{worst.label}, with {access_name(worst.access)} access, removes "
            f"{LEAKAGE_GAIN.value(worst.leakage_gain.value)} of the error of guessing"
        )
    if who is not None and named:
        by = f"{_called(who)}, with {access_name(who.access)} access, "
        same = bool(parts) and worst is not None and (who.label, who.access) == (worst.label, worst.access)
        parts.append(
            f"{'' if same else by}picks the input that was sent from {who.candidates:,} in "
            f"{IDENTIFIED.value(who.top_1.value)} of cases"
        )
    return ", and ".join(parts) or "no attack had a figure"


def _called(who: IdentificationRecord) -> str:
    """What identifies, in words."""
    if who.how != WATCH_LIST or who.attack != "watch-list":
        return who.label
    return f"a watch list that waits for {who.n_releases} releases" if who.n_releases > 1 else "a watch list"


def _bound(at: CeilingAt) -> str:
    return (
        f"a leakage gain of {LEAKAGE_GAIN.value(at.leakage_gain.high)} and {IDENTIFIED.value(at.identified.high)} of "
        "inputs identified"
    )


def no_ceiling(record: AuditRecord) -> str:
    """Why nothing bounds what others reach, as a clause."""
    why = {
        UNBOUNDED: "the budget did not suffice to compute it",
        "deterministic": "nothing random is added, so that a list of candidates can be compared",
        "density unknown": "the law of the noise is not known",
    }
    return why.get(record.ceiling.none, "it was not computed for so many releases")


def numbers_sent(record: AuditRecord) -> str:
    """How many numbers the head sends, in words; of sentences, which differ in length, as many for each token."""
    shape = "x".join(map(str, record.smashed))
    if record.modality == TOKENS and len(record.smashed) > 1 and record.smashed[:1] == record.input[:1]:
        return f"at most {shape} numbers"
    return f"{shape} numbers"
