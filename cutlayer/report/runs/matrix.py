"""Attacks against defenses: what each attack gets out of each setting, colored, with the worst of each row marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from cutlayer.records.run import Estimate
from cutlayer.report.kit.markup import Html, dot, el, note, row, section, small, table
from cutlayer.report.kit.wording import DASH, IDENTIFIED, LEAKAGE_GAIN, Scale
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.settings import Setting

STEPS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Shares between the colors: classes h0 (below the first) to h5 of the style sheet."""

Cells = Mapping[str, Estimate]
"""What each attack gets, by its label."""


def matrix(group: Group) -> Html | None:
    """Both matrices, of the leakage gain and of who is identified; None where no attack was run."""
    if not any(setting.attacks for setting in group.settings):
        return None
    legend = [el("li", el("span", class_=f"swatch h{step}"), _between(step)) for step in range(len(STEPS) + 1)]
    several = (
        "Over several seeds it is the mean, and the worst case of the other tables is the mean of what was worst for "
        "each seed, which may be more. "
    )
    explained = (
        "Each row is a setting, each column an attack: the leakage gain in percent with its 95 % interval, on the "
        f"deployment where the attack gets most. {several if len(group.seeds) > 1 else ''}What leaks is judged by the "
        "worst of a row, not by its mean: an attacker chooses."
    )
    identified = {setting.anchor: identified_by(setting) for setting in group.settings}
    second = (
        el("details", el("summary", "The same for who is identified"), _table(
            group, "Identified by each attack, %", identified, IDENTIFIED
        ))
        if any(identified.values())
        else None
    )  # fmt: skip
    leaking = {setting.anchor: leaked_by(setting) for setting in group.settings}
    return section(
        "Every attack on every defense",
        note(explained),
        _table(group, "Leakage gain of each attack, %", leaking, LEAKAGE_GAIN),
        el("ul", legend, class_="legend heats"),
        second,
    )


def leaked_by(setting: Setting) -> dict[str, Estimate]:
    """The leakage gain of each attack, on the deployment where it gets most."""
    return most((attack.label, attack.leakage_gain) for attack in setting.attacks)


def identified_by(setting: Setting) -> dict[str, Estimate]:
    """How often each attack identifies, on the deployment and in the way by which it does so most."""
    return most((found.label, found.top_1) for found in setting.identification)


def columns_of(group: Group, read: Callable[[Setting], Cells]) -> list[str]:
    """The labels of all attacks, in the order of the runs."""
    return list(dict.fromkeys(label for setting in group.settings for label in read(setting)))


def worst_of(cells: Cells) -> str | None:
    """The attack that gets most, of equals the first; None where none got anything."""
    known = {label: estimate.value for label, estimate in cells.items() if math.isfinite(estimate.value)}
    return max(known, key=lambda label: known[label], default=None)


def most(found: Iterable[tuple[str, Estimate]]) -> dict[str, Estimate]:
    """Keep the greatest of the estimates with one label, such as those of several deployments."""
    greatest: dict[str, Estimate] = {}
    for label, estimate in found:
        if label not in greatest or not greatest[label].value >= estimate.value:
            greatest[label] = estimate
    return greatest


def _table(group: Group, title: str, cells: Mapping[str, Cells], scale: Scale) -> Html:
    labels = list(dict.fromkeys(label for of_setting in cells.values() for label in of_setting))
    rows = []
    for setting in group.settings:
        own, failed = cells[setting.anchor], setting.failed
        worst = worst_of(own)
        heading = el("th", dot(setting.color), el("a", setting.label, href=f"#{setting.anchor}"), scope="row")
        rows.append(row(heading, [_cell(own.get(label), label, worst, failed, scale) for label in labels]))
    return table(title, ["Defense", *labels], [el("tbody", rows)], "matrix")


def _cell(estimate: Estimate | None, label: str, worst: str | None, failed: Mapping[str, object], scale: Scale) -> Html:
    if estimate is None or math.isnan(estimate.value):
        return el("td", "failed" if label in failed else DASH)
    value = scale.number(estimate.value)
    content = [el("b", value), el("span", "worst", class_="worst")] if label == worst else [value]
    return el("td", content, small(scale.interval(estimate)), class_=f"heat h{step(estimate.value)}")


def step(share: float) -> int:
    """The color of a share."""
    return sum(share >= edge for edge in STEPS)


def _between(number: int) -> str:
    edges = (None, *STEPS, None)
    low, high = edges[number], edges[number + 1]
    if low is None:
        return f"below {high:.0%}"
    return f"{low:.0%} and more" if high is None else f"{low:.0%} to {high:.0%}"
