"""A page for each defense inside the page: its strengths in numbers, and what each attack rebuilds at each of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.records.run import AttackRecord
from cutlayer.report.kit.markup import Html, dot, el, note, row, section, small, table
from cutlayer.report.kit.pictures import strip
from cutlayer.report.kit.wording import (
    ACCURACY,
    DASH,
    IDENTIFIED,
    LEAKAGE_GAIN,
    access_name,
    defense_words,
    duration,
    points,
    size,
)
from cutlayer.report.runs.depth import Depth
from cutlayer.report.runs.groups import Family, Group
from cutlayer.report.runs.settings import Setting
from cutlayer.report.runs.story import NO_PICTURE, class_names, originals, rebuilt_by, whole

WHOLE_SET = 4
"""Pictures up to which all are shown, in place of some that leak most and some median ones."""


@dataclass(frozen=True)
class Case:
    """Pictures of one kind, and which they are."""

    title: str
    indices: list[int]


def defense_pages(group: Group, depth: Depth) -> Html:
    """Every defense of a group, folded; a link to a setting unfolds its page."""
    links = [el("a", dot(f"c{family.color}"), _title(family), href=f"#{family.anchor}") for family in group.families]
    pages = [_page(group, family, depth) for family in group.families]
    return section(
        "Each defense",
        note(
            "A page for each defense: its figures at each strength, and in pictures what was sent and what each attack "
            "rebuilt of it. A picture leaks most where the worst attack gets furthest from the average picture towards "
            "the true one; the median ones are those in the middle of that order. Percentages are leakage gains over "
            "all private pictures."
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
    head = ["Strength", "Accuracy, %", "Change, points", "Leakage gain, %", "Worst attack", "Identified, %",
            "Request, p50", "Protect, p50", "Tensor", "Flags"]  # fmt: skip
    rows = []
    for setting in family.settings:
        accuracy, leakage, identified, time = (
            setting.accuracy,
            setting.leakage,
            setting.identified,
            setting.request_ns(),
        )
        between = f"{duration(time.low)} to {duration(time.high)}" if math.isfinite(time.low) else None
        flags = el("a", str(setting.n_flags), href="#flags", class_="flag") if setting.n_flags else "none"
        cells = [
            el("td", ACCURACY.number(accuracy.value), small(ACCURACY.interval(accuracy))),
            DASH if setting.undefended else points(setting.change.value),
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
        empty = note("Its pictures are in the records.") if not depth.cases else note("No attack was run.")
        return el("div", heading, empty, class_="strength")
    true, worst = originals(run), rebuilt_by(run, ranked[0].label, ranked[0].deployment)
    if worst is None or not _drawable(setting):
        return el("div", heading, NO_PICTURE, class_="strength")
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
    seed = f"Of seed {run.result.seed}. " if len(setting.members) > 1 else ""
    fewer = len(ranked) - min(len(ranked), depth.attacks)
    more = f"The {fewer} weaker attacks are in the records." if fewer else ""
    return el("div", heading, rows, note(f"{seed}{more}") if seed or more else None, class_="strength")


def _row(name: str, said: str, images: NDArray[np.uint8], cases: Sequence[Case], alt: str, setting: Setting,
         depth: Depth) -> Html:  # fmt: skip
    run = setting.members[0].run
    pictures = []
    for case in cases:
        spoken = f"{alt}, {case.title}: {class_names(run, case.indices)}"
        # The title of the column stands above all rows on a wide screen, and beside each picture on a narrow one.
        title = case.title if len(cases) > 1 else None
        pictures.append(el("div", strip(images, case.indices, spoken, depth.side), data_case=title))
    return el("div", el("span", name, small(said or None), class_="who"), pictures, class_="grid-row")


def chosen(true: NDArray[np.uint8], rebuilt: NDArray[np.uint8], count: int) -> list[Case]:
    """The pictures that leak most, and median ones; all of them where there are few.

    Args:
        true: ``(N, C, H, W)`` uint8.
        rebuilt: What the worst attack made of them.
        count: Number of pictures of each kind.
    """
    if len(true) <= max(WHOLE_SET, 2 * count - 1):
        return [Case("all pictures", list(range(len(true)))[: 2 * count])]
    order = [int(i) for i in np.argsort(-gains(true, rebuilt), kind="stable")]
    middle = max(count, (len(order) - count) // 2)
    return [Case("leak most", order[:count]), Case("median", order[middle : middle + count])]


def gains(true: NDArray[np.uint8], rebuilt: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The share of the mean picture's error that a reconstruction removed, ``(N,)``; -inf where there is none."""
    flat = true.reshape(len(true), -1).astype(np.float64)
    error = ((flat - rebuilt.reshape(len(true), -1)) ** 2).mean(1)
    of_mean = ((flat - flat.mean(0)) ** 2).mean(1)
    return np.where(of_mean > 0, 1 - error / np.maximum(of_mean, 1e-12), -np.inf)


def _drawable(setting: Setting) -> bool:
    pictures = whole(setting.members[0].run)
    return pictures is not None and pictures.originals.ndim == 4 and len(pictures.originals) > 0


def _ranked(setting: Setting) -> list[AttackRecord]:
    """The attacks of the first seed, the worst first, each on the deployment where it gets most."""
    by_label: dict[str, AttackRecord] = {}
    for attack in setting.first.privacy:
        best = by_label.get(attack.label)
        if best is None or not best.leakage_gain.value >= attack.leakage_gain.value:
            by_label[attack.label] = attack
    return sorted(by_label.values(), key=lambda a: -a.leakage_gain.value if a.leakage_gain.value == a.leakage_gain.value
                  else math.inf)  # fmt: skip
