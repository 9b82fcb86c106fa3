"""Lines, labels, scales and bars as inline SVG, for every chart of every page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.wording import duration
from cutlayer.trace import STAGES

# User units of the scatter; small enough that its text stays readable when a phone shrinks it.
WIDTH, HEIGHT = 520.0, 360.0


LEFT, RIGHT, TOP, BOTTOM = 54.0, 504.0, 18.0, 300.0


LETTER = 7.6  # width of one letter of a label, generously


def stage_bar(stages: Mapping[str, float], longest: float, label: str) -> Html:
    """One stacked bar, as wide as its share of the longest one; stages in ns."""
    parts, at = [], 0.0
    for stage in STAGES:
        width = max(0.0, stages.get(stage, 0.0)) / longest * 1000
        title = el("title", f"{stage}: {duration(stages.get(stage))}")
        parts.append(el("rect", title, x=f"{at:.2f}", y=0, width=f"{width:.2f}", height=10, class_=f"s-{stage}"))
        at += width
    spoken = ", ".join(f"{stage} {duration(stages[stage])}" for stage in STAGES if stage in stages)
    return el(
        "svg", parts, viewBox="0 0 1000 10", preserveAspectRatio="none", class_="bar", role="img",
        aria_label=f"{label}: {spoken}",
    )  # fmt: skip


def domain(values: Sequence[float], least: float) -> tuple[float, float]:
    """A range inside [0, 1] that holds all values with some air."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    air = max(0.12 * (high - low), (least - (high - low)) / 2, 0.01)
    return max(0.0, low - air), min(1.0, high + air)


def ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers inside a range."""
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / s <= 7 or s == 0.2)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    """A straight line of one class of the style sheet."""
    return el("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=class_)


Box = tuple[float, float, float, float]
"""Left, top, width and height."""


def place(
    px: float, py: float, label: str, taken: list[Box], area: Box = (LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP)
) -> tuple[float, float, str]:
    """Where a label hits no point and no other label: the first free one of a few places around its point.

    Args:
        px: Of the point.
        py: Of the point.
        label: Its text.
        taken: Points and labels; this one is added.
        area: That it should not leave.

    Returns:
        Where the text begins, or ends, and its anchor.
    """
    left, top, right, bottom = area[0], area[1], area[0] + area[2], area[1] + area[3]
    width = LETTER * len(label)
    places = [
        (px + dx, py + dy, anchor) for dy in (-9, 17, -24, 32, -39, 47) for dx, anchor in ((10, "start"), (-10, "end"))
    ]
    for tx, ty, anchor in places:
        box = (tx if anchor == "start" else tx - width, ty - 11, width, 14.0)
        inside = box[0] > left and box[0] + width < right and box[1] > top - 8 and ty < bottom - 2
        if inside and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return tx, ty, anchor
    return (px - 10, py - 9, "end") if px > (left + right) / 2 else (px + 10, py - 9, "start")


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
