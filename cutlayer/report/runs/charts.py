"""The two charts, as inline SVG: privacy against accuracy, and where the time of a request goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.records.run import Estimate
from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, domain, line, place, ticks
from cutlayer.report.kit.wording import SPACE
from cutlayer.trace import STAGES


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
