"""The charts of trainings: learning curves by round and by bytes, and who holds what."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cutlayer.records.training import TrainingRecord
from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.svg import Axis, Chart, Frame, apart, circle, decades, domain, percent, text, ticks
from cutlayer.report.kit.wording import ACCURACY, size
from cutlayer.report.trainings.groups import Curve

FRAME = Frame(560.0, 330.0, left=46.0, right=548.0, top=16.0, bottom=276.0)
HOLDS = 22.0
"""Side in user units of the place of one client and class."""
MOST_CLIENTS = 50
"""Clients that the plot of who holds what shows."""


def by_round(curves: Sequence[Curve], references: Sequence[tuple[str, float]]) -> Html:
    """Accuracy after each round, and levels such as the majority class as dashed lines."""
    points = [(curve, curve.over_rounds()) for curve in curves]
    last = max((number for _, line in points for number, _ in line), default=1.0)
    return _lines("Accuracy by round", points, references, _rounds(last))


def by_bytes(curves: Sequence[Curve]) -> Html | None:
    """Accuracy against the bytes that were sent until then; None where nothing was sent."""
    points = [(curve, curve.over_bytes()) for curve in curves]
    spent = [sent for _, line in points for sent, _ in line]
    if not spent:
        return None
    low, high = min(spent) / 1.15, max(spent) * 1.15
    across = Axis(low, high, apart(decades(low, high)), lambda n: size(int(n)), "sent up and down by all", True)
    return _lines("Accuracy by bytes", [(curve, line) for curve, line in points if line], (), across)


def _lines(
    title: str,
    points: Sequence[tuple[Curve, Sequence[tuple[float, float]]]],
    references: Sequence[tuple[str, float]],
    across: Axis,
) -> Html:
    values = [value for _, line in points for _, value in line] + [value for _, value in references]
    low, high = domain(values, least=0.1)
    chart = Chart(FRAME, across, Axis(low, high, ticks(low, high), percent, "accuracy, %"))
    parts: list[object] = [chart.axes()]
    for name, value in references:
        parts += [chart.level(value), text(name, FRAME.right - 4, chart.y(value) - 5, "end")]
    spoken = []
    for curve, line in points:
        marks = [circle(chart.x(a), chart.y(b), 2.6, el("title", f"{curve.label}: {b:.1%}")) for a, b in line]
        parts.append(el("g", chart.polyline(line, "learned"), marks, class_=f"{curve.color} run"))
        if line:
            spoken.append(f"{curve.label}: {ACCURACY.value(line[-1][1])} at the end")
    figure = chart.svg(parts, f"{title}. {'; '.join(spoken)}.", None)
    return el("figure", el("figcaption", title), figure)


def _rounds(last: float) -> Axis:
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**9) if last / s <= 8)
    marks = [1.0, *(float(n) for n in range(step, int(last) + 1, step) if n > 1)]
    return Axis(1.0, max(last, 2.0), marks, lambda n: f"{n:.0f}", "round")


def legend(curves: Sequence[Curve]) -> Html:
    """The color of each curve."""
    return el("ul", [el("li", el("span", class_=f"line {c.color}"), c.label) for c in curves], class_="legend")


def who_holds_what(run: TrainingRecord) -> Html | None:
    """One disk for each client and class, whose area is the number of samples; None where it is not known."""
    if len(run.held) < 2:
        return None
    shown = run.held[:MOST_CLIENTS]
    most = max(n for row in shown for n in row)
    left, top = 84.0, 34.0
    width = left + HOLDS * len(run.classes) + 62.0
    height = top + HOLDS * len(shown) + 8.0
    parts: list[object] = []
    for column, name in enumerate(run.classes):
        x = left + HOLDS * (column + 0.5)
        parts.append(text(name[:3], x, top - 10, "middle"))
    parts.append(text("samples", width - 4, top - 10, "end"))
    for row, held in enumerate(shown):
        y = top + HOLDS * (row + 0.5)
        parts.append(text(f"client {row + 1}", left - 14, y + 4, "end"))
        for column, n in enumerate(held):
            if n:
                title = el("title", f"client {row + 1}, {run.classes[column]}: {n:,}")
                radius = max(1.0, math.sqrt(n / most) * (HOLDS / 2 - 1))
                parts.append(circle(left + HOLDS * (column + 0.5), y, radius, title, "holds"))
        parts.append(text(f"{sum(held):,}", width - 4, y + 4, "end"))
    total = f"{len(run.held)} clients, {run.partition}; the largest disk is {most:,} samples"
    box = f"0 0 {width:.0f} {height:.0f}"
    style = f"max-width: {width * 1.15:.0f}px"
    drawing = el("svg", parts, viewBox=box, role="img", aria_label=f"Who holds what: {total}.", style=style)
    return el("figure", drawing, class_="held")
