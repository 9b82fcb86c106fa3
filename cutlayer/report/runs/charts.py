"""The two charts, as inline SVG: privacy against accuracy, and where the time of a request goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.records.run import Estimate
from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.svg import Axis, Chart, Frame, circle, diamond, domain, line, named, percent, text, ticks
from cutlayer.report.kit.wording import SPACE
from cutlayer.trace import STAGES

FRAMES = {
    "wide-screen": Frame(760.0, 440.0, left=54.0, right=744.0, top=18.0, bottom=380.0),
    "narrow-screen": Frame(358.0, 340.0, left=44.0, right=346.0, top=18.0, bottom=280.0),
}
"""Frames by the class of the style sheet that shows the drawing: text has the size of the page's text on both."""


@dataclass(frozen=True)
class Point:
    """One defense in the scatter.

    Attributes:
        color: A class of the style sheet.
        seeds: Leakage gain and accuracy of each seed.
    """

    label: str
    color: str
    leakage: Estimate
    accuracy: Estimate
    undefended: bool
    seeds: tuple[tuple[float, float], ...] = ()


def scatter(points: Sequence[Point], baseline: Estimate) -> list[Html]:
    """Worst-case leakage gain (x, right leaks more) against accuracy (y), with both 95 % intervals, for each screen."""
    return [_scatter(points, baseline, frame, screen) for screen, frame in FRAMES.items()]


def _scatter(points: Sequence[Point], baseline: Estimate, frame: Frame, screen: str) -> Html:
    points = [p for p in points if math.isfinite(p.leakage.value) and math.isfinite(p.accuracy.value)]
    known = [v for p in points for v in _span(p.accuracy)] + [v for v in (baseline.value,) if math.isfinite(v)]
    low, high = domain(known, least=0.05)
    least_gain = min([0.0, *(v for p in points for v in _span(p.leakage))])
    left = -0.04 if least_gain >= 0 else math.floor(least_gain * 10) / 10
    title = "Worst-case leakage gain, %" + f" {SPACE}(further right leaks more)" * (screen == "wide-screen")
    across = Axis(left, 1.02, (0.0, 0.25, 0.5, 0.75, 1.0), percent, title)
    chart = Chart(frame, across, Axis(low, high, ticks(low, high), percent, "Accuracy, %"))

    def x(gain: float) -> float:
        return chart.x(min(gain, 1.0))

    parts: list[Html] = [chart.axes(), _references(chart, baseline)]
    taken = [(x(p.leakage.value) - 7, chart.y(p.accuracy.value) - 7, 14.0, 14.0) for p in points]
    taken += [(x(gain) - 3, chart.y(share) - 3, 6.0, 6.0) for p in points for gain, share in p.seeds]
    for p in points:
        px, py = x(p.leakage.value), chart.y(p.accuracy.value)
        (x1, x2), (y1, y2) = map(x, _span(p.leakage)), map(chart.y, _span(p.accuracy))
        bars = [line(x1, py, x2, py, "interval"), line(px, y1, px, y2, "interval")]
        small = [circle(x(gain), chart.y(share), 2) for gain, share in p.seeds if len(p.seeds) > 1 and gain == gain]
        glyph = diamond(px, py, 7) if p.undefended else circle(px, py, 5.5)
        label = named(px, py, p.label, taken, frame.area)
        parts.append(el("g", el("title", _spoken(p)), bars, small, glyph, label, class_=f"point {p.color}"))
    summary = "; ".join(map(_spoken, points))
    return chart.svg(parts, f"Worst-case leakage gain against accuracy. {summary}.", f"scatter {screen}")


def typical_request(traces: Mapping[str, NDArray[np.int64]], deployment: str) -> dict[str, float] | None:
    """Mean ns of each stage over the tenth of the requests around the median one, so that the stages add up.

    The medians of the stages would not: their sum is no request's time.
    """
    try:
        order = np.argsort(traces[f"{deployment}/end_to_end_ns"], kind="stable")
        middle = order[int(0.45 * len(order)) : max(math.ceil(0.55 * len(order)), 1)]
        means = {stage: float(traces[f"{deployment}/{stage}_ns"][middle].mean()) for stage in STAGES if len(order)}
    except (KeyError, IndexError):
        return None
    return means or None


def _span(estimate: Estimate) -> tuple[float, float]:
    """The interval, or the bare value when there is none."""
    low = estimate.value if math.isnan(estimate.low) else estimate.low
    high = estimate.value if math.isnan(estimate.high) else estimate.high
    return low, high


def _spoken(point: Point) -> str:
    return f"{point.label}: leakage gain {point.leakage.value:.1%}, accuracy {point.accuracy.value:.1%}"


def _references(chart: Chart, baseline: Estimate) -> Html:
    """The two ends of the scale: the accuracy without a defense, and the attacker who learns nothing."""
    beside = chart.x(0.0) + 6
    parts = [chart.upright(0.0), text("mean image: nothing leaks", beside, chart.frame.bottom - 8, class_="note")]
    if math.isfinite(baseline.value):
        parts.append(chart.level(baseline.value))
        parts.append(text("undefended accuracy", beside, chart.y(baseline.value) - 6, class_="note"))
    return el("g", parts)
