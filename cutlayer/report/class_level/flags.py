"""What makes a reader careful: signs in the records that a figure does not mean what it seems to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from cutlayer.errors import ConfigError
from cutlayer.registry import ANSWER_DEFENSES
from cutlayer.report.class_level.groups import HALF, NEAREST, Cell, Group, Who, who_text
from cutlayer.report.kit.comparison import less, sign
from cutlayer.report.kit.wording import Scale

SHARE = Scale("Share", "%", 0, 100)
WEAK, APART, CHANCES = 0.9, 0.2, 3
"""A judge's accuracy, the difference of two judges, and the share of chance that are suspicious."""
ACCESSES = ("label", "scores", "weights")


def flags(group: Group) -> list[str]:
    """One sentence for each sign, of the whole study first."""
    victims = [text for who in group.victims for text in _of(group, who)]
    return [*_judges(group), *victims, *_attacks(group), *_controls(group)]


def _judges(group: Group) -> list[str]:
    found = []
    if group.shared:
        found.append(
            "The attacker holds samples of the same classes, so that its pictures say little about the victim's own."
        )
    weak = {
        title: share
        for r in group.records
        for title, share in zip(r.judges, r.judged, strict=False)
        if share < WEAK
    }  # fmt: skip
    found += [f"A judge is weak, so that all figures are uncertain: {title}" for title in weak]
    return found


def _of(group: Group, who: Who) -> list[str]:
    where = who_text(who)
    accuracies = [r for r in group.records if (r.epochs, r.defense_label) == who and r.accuracy is not None]
    found = []
    if any(r.accuracy.value < CHANCES * r.chance for r in accuracies if r.accuracy and r.chance < 1 / CHANCES):
        found.append(
            f"The victim ({where}) has hardly learned its classes, so that there is little to be told of them."
        )
    return [*found, *_unmet(group, who, where), *_ranks(group, who, where)]


def _attacks(group: Group) -> list[str]:
    """One sentence for each sign, with the attacks on the first victim that show it."""
    met: dict[str, list[tuple[Who, str]]] = {}
    for who in group.victims:
        for cell in group.cells(who):
            for text in _signs(group, who, cell):
                met.setdefault(text, []).append((who, cell.first.label))
    found = []
    for text, those in met.items():
        who = those[0][0]
        labels, others = [label for where, label in those if where == who], sum(where != who for where, _ in those)
        more = f", and {others} more on other victims" if others else ""
        found.append(f"{text}: {', '.join(labels)} ({who_text(who)}){more}.")
    return found


def _signs(group: Group, who: Who, cell: Cell) -> Iterator[str]:
    """What is suspicious of one attack on one victim."""
    agreed, cells = cell.value("agreed"), group.cells(who)
    first, second = cell.metric("acc@1"), cell.metric("second")
    if first is not None and second is not None and abs(first.value - second.value) > APART:
        yield "The judges disagree, so that a part of the pictures deceives one of them, and shows nothing"
    if (nearest := group.cell(who, NEAREST)) is not None and agreed <= nearest.value("agreed"):
        yield "No better than showing the attacker's own nearest samples"
    linear = [other.value("agreed") for other in cells if other.first.prior == "linear"]
    if linear and cell.first.prior != "linear" and agreed <= max(linear):
        yield "No better than a linear prior"
    sampled = cell.metric("agreed", sampled=True)
    if sampled is not None and agreed <= sampled.value:
        yield "No better than as many questions without a search"
    gain = cell.metric("distance gain")
    if gain is not None and gain.value < 0 and agreed >= HALF:
        yield (
            "Recognized by the judges, and farther from the victim's samples than the attacker's own nearest samples "
            "are"
        )
    own, real = cell.metric("diversity"), cell.metric("real diversity")
    if own is not None and real is not None and own.value < HALF * real.value:
        yield "Less than half as diverse as real samples of the class"


def _unmet(group: Group, who: Who, where: str) -> list[str]:
    """Whether a defense has met none of the attacks that are made for it."""
    of_victim = [r for r in group.records if (r.epochs, r.defense_label) == who and r.at == "answers"]
    made = _adaptive(of_victim[0].defense) if of_victim else ()
    ran = [{r.attack, *(f"{r.attack}.{option}" for option in r.options)} for r in of_victim if r.score is not None]
    if not made or any(not attack.isdisjoint(made) for attack in ran):
        return []
    named = ", ".join(name.replace(".", " with ") for name in made)
    return [
        f"No attack that is made for the defense has met it ({where}), so that its figures are those of attackers who "
        f"do not know of it. One of these is to be run: {named}."
    ]


def _adaptive(defense: str) -> tuple[str, ...]:
    try:
        return ANSWER_DEFENSES.load(defense).adaptive  # type: ignore[no-any-return]
    except ConfigError:
        return ()


def _ranks(group: Group, who: Who, where: str) -> list[str]:
    """Who gets less of a victim must not do better: then the stronger attack is not as strong as it could be."""
    best = {access: cell for access in ACCESSES if (cell := group.worst(who, access)) is not None}
    found, known = [], [access for access in ACCESSES if access in best]
    for weaker, stronger in itertools.pairwise(known):
        less_told, told = best[weaker].metric("agreed"), best[stronger].metric("agreed")
        if less_told is None or told is None or less_told.value <= told.value:
            continue
        clear = "" if sign(less(less_told, told)) > 0 else ", by no clear margin"
        found.append(
            f"{best[weaker].first.label} gets the {weaker} alone and does better than {best[stronger].first.label} "
            f"with the {stronger} ({where}){clear}: more can be found with the {stronger} than was."
        )
    return found


def _controls(group: Group) -> list[str]:
    return [
        f"{r.label}: both judges take {SHARE.value(r.control.named)} of the pictures of a class that the victim was "
        "never trained on for one of its classes, so that a class that is named alone proves little."
        for r in group.records
        if r.control is not None and r.control.named >= HALF
    ]
