"""A page for each defense inside the page: its strengths in numbers, and what each attack rebuilds at each of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cutlayer.data.modality import TABLE
from cutlayer.records.run import AttackRecord
from cutlayer.report.kit.inputs import Inputs, gains
from cutlayer.report.kit.kinds import kind_of
from cutlayer.report.kit.markup import Html, dot, el, note, row, section, small, table
from cutlayer.report.kit.rows import side_by_side
from cutlayer.report.kit.wording import (
    IDENTIFIED,
    LEAKAGE_GAIN,
    access_name,
    defense_words,
    duration,
    size,
)
from cutlayer.report.runs import usefulness
from cutlayer.report.runs.depth import Depth
from cutlayer.report.runs.groups import Family, Group
from cutlayer.report.runs.settings import Setting
from cutlayer.report.runs.story import class_names, originals, rebuilt_by, unreadable

WHOLE_SET = 4
"""Inputs up to which all are shown, in place of some that leak most and some median ones."""


@dataclass(frozen=True)
class Case:
    """Inputs of one kind, and which they are."""

    title: str
    indices: list[int]


def defense_pages(group: Group, depth: Depth) -> Html:
    """Every defense of a group, folded; a link to a setting unfolds its page."""
    kind = group.kind
    links = [el("a", dot(f"c{family.color}"), _title(family), href=f"#{family.anchor}") for family in group.families]
    pages = [_page(group, family, depth) for family in group.families]
    return section(
        "Each defense",
        note(
            f"A page for each defense: its figures at each strength, and {kind.shown} what was sent and what each "
            f"attack rebuilt of it. A {kind.one} leaks most where the worst attack {kind.furthest}; the median ones "
            "are those in the middle of that order. Percentages are leakage gains over "
            f"all private {kind.many}."
        ),
        el("ul", [el("li", link) for link in links], class_="pages"),
        pages,
    )


def _page(group: Group, family: Family, depth: Depth) -> Html:
    words = defense_words(family.name)
    content = [
        # What a link leads to lies inside, so that browsers unfold the page around it.
        el("p", words or f"The strengths of {_title(family)}.", id=family.anchor, class_="note"),
        _strengths(family),
        [_setting(group, setting, depth) for setting in family.settings],
    ]
    count = f"{len(family.settings)} strength{'s'[: len(family.settings) > 1]}"
    summary = el("summary", el("h3", dot(f"c{family.color}"), _title(family)), small(_spread(family, count)))
    return el("details", summary, content, class_="defense")


def _title(family: Family) -> str:
    return "no defense" if family.color == 0 else family.name


def _spread(family: Family, count: str) -> str:
    gains = [s.leakage.value for s in family.settings if math.isfinite(s.leakage.value)]
    if not gains:
        return count
    low, high = LEAKAGE_GAIN.number(min(gains)), LEAKAGE_GAIN.value(max(gains))
    leaks = f"leakage gain {low} to {high}" if len(gains) > 1 else f"leakage gain {high}"
    return f"{count}, {leaks}" if family.color else leaks


def _strengths(family: Family) -> Html:
    useful = usefulness.of_setting(family.settings[0])
    head = ["Strength", useful.scale.heading, ", ".join(useful.beside), "Leakage gain, %", "Worst attack",
            "Identified, %", "Request, p50", "Protect, p50", "Tensor", "Flags"]  # fmt: skip
    rows = []
    for setting in family.settings:
        kept, leakage, identified, time = setting.usefulness, setting.leakage, setting.identified, setting.request_ns()
        between = f"{duration(time.low)} to {duration(time.high)}" if math.isfinite(time.low) else None
        flags = el("a", str(setting.n_flags), href="#flags", class_="flag") if setting.n_flags else "none"
        cells = [
            el("td", useful.scale.number(kept.value), small(useful.scale.interval(kept))),
            usefulness.beside(setting)[0],
            el("td", LEAKAGE_GAIN.number(leakage.value), small(LEAKAGE_GAIN.interval(leakage))),
            setting.attackers,
            el("td", IDENTIFIED.number(identified.value), small(IDENTIFIED.interval(identified))),
            el("td", duration(time.value), small(between)),
            duration(setting.time_ns(stage="protect")),
            size(setting.tensor_bytes),
            el("td", flags),
        ]
        rows.append(row(el("th", el("a", setting.strength, href=f"#{setting.anchor}"), scope="row"), cells))
    return table(f"{_title(family)} at each strength", head, [el("tbody", rows)], "numbers")


def _setting(group: Group, setting: Setting, depth: Depth) -> Html:
    """One strength: the true inputs, and below them what each attack rebuilt."""
    heading = el("h4", setting.label, id=setting.anchor)
    run = setting.members[0].run
    ranked = _ranked(setting)
    if not depth.cases or not ranked:
        empty = note(f"Its {group.kind.many} are in the records.") if not depth.cases else note("No attack was run.")
        return el("div", heading, empty, class_="strength")
    true, worst = originals(run), rebuilt_by(run, ranked[0].label, ranked[0].deployment)
    if worst is None:
        return el("div", heading, unreadable(run), class_="strength")
    cases = chosen(true, worst, depth.cases)
    columns = [el("span", case.title, class_="case") for case in cases]
    rows = [el("div", el("span", "", class_="who"), columns, class_="grid-row titles"),
            _row("what was sent", "", true, cases, f"Sent with {setting.label}", setting, depth)]  # fmt: skip
    for attack in ranked[: depth.attacks]:
        rebuilt = rebuilt_by(run, attack.label, attack.deployment)
        if rebuilt is not None:
            said = f"{LEAKAGE_GAIN.value(attack.leakage_gain.value)}, {access_name(attack.access)}"
            alt = f"{attack.label} with {setting.label}"
            rows.append(_row(attack.label, said, rebuilt, cases, alt, setting, depth))
    if true.modality == TABLE.name:
        rows = [_beside(setting, true, ranked[: depth.attacks], case) for case in cases]
    seed = f"Of seed {run.result.seed}. " if len(setting.members) > 1 else ""
    fewer = len(ranked) - min(len(ranked), depth.attacks)
    more = f"The {fewer} weaker attacks are in the records." if fewer else ""
    return el("div", heading, rows, note(f"{seed}{more}") if seed or more else None, class_="strength")


def _beside(setting: Setting, true: Inputs, ranked: Sequence[AttackRecord], case: Case) -> Html:
    """One row of a table of its kind, column by column, and what each attack made of it."""
    run = setting.members[0].run
    found = {attack.label: rebuilt_by(run, attack.label, attack.deployment) for attack in ranked}
    rebuilt = {label: inputs.values for label, inputs in found.items() if inputs is not None}
    title = "one row" if case.title.startswith("all") else {"leak most": "the row that leaks most"}.get(
        case.title, "a median row"
    )  # fmt: skip
    return side_by_side(true.values, rebuilt, case.indices[0], true.legend.columns, f"{setting.label}: {title}")


def _row(name: str, said: str, inputs: Inputs, cases: Sequence[Case], alt: str, setting: Setting,
         depth: Depth) -> Html:  # fmt: skip
    run = setting.members[0].run
    pictures = []
    for case in cases:
        spoken = f"{alt}, {case.title}: {class_names(run, case.indices)}"
        # The title of the column stands above all rows on a wide screen, and beside each picture on a narrow one.
        title = case.title if len(cases) > 1 else None
        pictures.append(el("div", inputs.drawn(case.indices, spoken, depth.side), data_case=title))
    return el("div", el("span", name, small(said or None), class_="who"), pictures, class_="grid-row")


def chosen(true: Inputs, rebuilt: Inputs, count: int) -> list[Case]:
    """The inputs that leak most, and median ones; all of them where there are few.

    Args:
        true: What was sent.
        rebuilt: What the worst attack made of it.
        count: Number of inputs of each kind.
    """
    n = len(true.values)
    if n <= max(WHOLE_SET, 2 * count - 1):
        return [Case(f"all {kind_of(true.modality).many}", list(range(n))[: 2 * count])]
    order = [int(i) for i in np.argsort(-gains(rebuilt, true.values), kind="stable")]
    middle = max(count, (len(order) - count) // 2)
    return [Case("leak most", order[:count]), Case("median", order[middle : middle + count])]


def _ranked(setting: Setting) -> list[AttackRecord]:
    """The attacks of the first seed, the worst first, each on the deployment where it gets most."""
    by_label: dict[str, AttackRecord] = {}
    for attack in setting.first.privacy:
        best = by_label.get(attack.label)
        if best is None or not best.leakage_gain.value >= attack.leakage_gain.value:
            by_label[attack.label] = attack
    return sorted(by_label.values(), key=lambda a: -a.leakage_gain.value if a.leakage_gain.value == a.leakage_gain.value
                  else math.inf)  # fmt: skip
