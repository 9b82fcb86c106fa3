"""The two charts, as inline SVG: privacy against accuracy, and where the time of a request goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.report.markup import Html, el
from cutlayer.report.records import Estimate
from cutlayer.report.wording import SPACE, duration
from cutlayer.trace import STAGES

# User units of the scatter; small enough that its text stays readable when a phone shrinks it.
WIDTH, HEIGHT = 520.0, 360.0
LEFT, RIGHT, TOP, BOTTOM = 54.0, 504.0, 18.0, 300.0
LETTER = 7.6  # width of one letter of a label, generously


@dataclass(frozen=True)
class Point:
    """One defense in the scatter. `color` is a class of the style sheet."""

    label: str
    color: str
    leakage: Estimate
    accuracy: Estimate
    undefended: bool


def scatter(points: Sequence[Point], baseline: Estimate) -> Html:
    """Worst-case leakage gain (x, right leaks more) against accuracy (y), with both 95 % intervals."""
    points = [p for p in points if math.isfinite(p.leakage.value) and math.isfinite(p.accuracy.value)]
    known = [v for p in points for v in _span(p.accuracy)] + [v for v in (baseline.value,) if math.isfinite(v)]
    low, high = domain(known, least=0.05)
    least_gain = min([0.0, *(v for p in points for v in _span(p.leakage))])
    left = -0.04 if least_gain >= 0 else math.floor(least_gain * 10) / 10

    def x(gain: float) -> float:
        return LEFT + (min(gain, 1.0) - left) / (1.02 - left) * (RIGHT - LEFT)

    def y(accuracy: float) -> float:
        return BOTTOM - (accuracy - low) / (high - low) * (BOTTOM - TOP)

    parts: list[Html] = [_axes(x, y, low, high), _references(x, y, baseline)]
    taken = [(x(p.leakage.value) - 7, y(p.accuracy.value) - 7, 14.0, 14.0) for p in points]
    for p in points:
        px, py = x(p.leakage.value), y(p.accuracy.value)
        bars = [line(x(v[0]), py, x(v[1]), py, "interval") for v in [_span(p.leakage)]]
        bars += [line(px, y(v[0]), px, y(v[1]), "interval") for v in [_span(p.accuracy)]]
        glyph = el("path", d=f"M{px:.1f} {py - 7:.1f}l7 7l-7 7l-7-7z") if p.undefended else None
        glyph = glyph or el("circle", cx=f"{px:.1f}", cy=f"{py:.1f}", r=5.5)
        tx, ty, anchor = place(px, py, p.label, taken)
        text = el("text", p.label, x=f"{tx:.1f}", y=f"{ty:.1f}", text_anchor=anchor, class_="name")
        tooltip = el("title", f"{p.label}: leakage gain {p.leakage.value:.1%}, accuracy {p.accuracy.value:.1%}")
        parts.append(el("g", tooltip, bars, glyph, text, class_=f"point {p.color}"))
    summary = "; ".join(
        f"{p.label}: leakage gain {p.leakage.value:.1%}, accuracy {p.accuracy.value:.1%}" for p in points
    )
    return el(
        "svg", parts, viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", class_="scatter", role="img",
        aria_label=f"Worst-case leakage gain against accuracy. {summary}.",
    )  # fmt: skip


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


def typical_request(traces: Mapping[str, NDArray[np.int64]], deployment: str) -> dict[str, float] | None:
    """Mean ns of each stage over the tenth of the requests around the median one, so that the stages add up.

    The medians of the stages would not: their sum is no request's time.
    """
    try:
        order = np.argsort(traces[f"{deployment}/end_to_end_ns"], kind="stable")
        middle = order[int(0.45 * len(order)) : max(math.ceil(0.55 * len(order)), 1)]
        return (
            {stage: float(traces[f"{deployment}/{stage}_ns"][middle].mean()) for stage in STAGES}
            if len(order)
            else None
        )
    except (KeyError, IndexError):
        return None


def _span(estimate: Estimate) -> tuple[float, float]:
    """The interval, or the bare value when there is none."""
    low = estimate.value if math.isnan(estimate.low) else estimate.low
    high = estimate.value if math.isnan(estimate.high) else estimate.high
    return low, high


def domain(values: Sequence[float], least: float) -> tuple[float, float]:
    """A range inside [0, 1] that holds all values with some air."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    air = max(0.12 * (high - low), (least - (high - low)) / 2, 0.01)
    return max(0.0, low - air), min(1.0, high + air)


def ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers inside a range."""
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / s <= 7 or s == 0.2)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _axes(x, y, low: float, high: float) -> Html:  # type: ignore[no-untyped-def]
    parts = []
    for tick in ticks(low, high):
        parts.append(line(LEFT, y(tick), RIGHT, y(tick), "grid"))
        parts.append(el("text", f"{tick * 100:.0f}", x=LEFT - 8, y=f"{y(tick) + 4:.1f}", text_anchor="end"))
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(line(x(tick), BOTTOM, x(tick), BOTTOM + 5, "axis"))
        parts.append(el("text", f"{tick * 100:.0f}", x=f"{x(tick):.1f}", y=BOTTOM + 19, text_anchor="middle"))
    parts.append(line(LEFT, BOTTOM, RIGHT, BOTTOM, "axis"))
    middle = (LEFT + RIGHT) / 2
    title = f"Worst-case leakage gain, % {SPACE}(further right leaks more)"
    parts.append(el("text", title, x=middle, y=HEIGHT - 14, text_anchor="middle", class_="title"))
    turned = f"translate(14 {(TOP + BOTTOM) / 2:.0f}) rotate(-90)"
    parts.append(el("text", "Accuracy, %", transform=turned, text_anchor="middle", class_="title"))
    return el("g", parts)


def _references(x, y, baseline: Estimate) -> Html:  # type: ignore[no-untyped-def]
    """The two ends of the scale: the accuracy without a defense, and the attacker who learns nothing."""
    parts = [
        line(x(0.0), TOP, x(0.0), BOTTOM, "reference"),
        el("text", "mean image: nothing leaks", x=f"{x(0.0) + 6:.1f}", y=BOTTOM - 8, class_="note"),
    ]
    if math.isfinite(baseline.value):
        level = y(baseline.value)
        parts.append(line(LEFT, level, RIGHT, level, "reference"))
        parts.append(el("text", "undefended accuracy", x=f"{x(0.0) + 6:.1f}", y=f"{level - 6:.1f}", class_="note"))
    return el("g", parts)


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
