"""The chart of questions against success."""

from __future__ import annotations

from cutlayer.report.class_level.groups import Cell, Group, Who
from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.svg import Axis, Chart, Frame, apart, circle, decades, diamond, percent, text, ticks

FRAME = Frame(760.0, 380.0, left=52.0, right=736.0, top=18.0, bottom=316.0)
COLORS = 6
"""Colors of the style sheet, c1 to c6."""
BUDGET = ", at most "
"""What stands before the budget in the title of an attack: those that differ in it alone are joined by a line."""


def questions(group: Group, who: Who) -> Html | None:
    """Who asks how much, and how many of its pictures are recognized; None where nobody asks.

    Each attack is a disk in its color, and the diamond of that color is what as many questions reach without a search.
    The best attack that asks nothing is a level.
    """
    asking = [cell for cell in group.cells(who) if cell.per_class > 0]
    if not asking:
        return None
    counts = [cell.per_class for cell in asking]
    low, high = min(counts) / 1.6, max(counts) * 1.6
    marks = [mark for mark in decades(low, high) if low <= mark <= high]
    across = Axis(low, high, apart(marks), lambda n: f"{n:,.0f}", "questions for each class", logarithmic=True)
    chart = Chart(FRAME, across, Axis(0.0, 1.0, ticks(0.0, 1.0), percent, "both judges recognize it, %"))
    parts: list[object] = [chart.axes()]
    silent = [cell for cell in group.cells(who) if cell.per_class == 0]
    best = max(silent, key=lambda cell: cell.value("agreed"), default=None)
    if best is not None:
        parts += [
            chart.level(best.value("agreed")),
            text(f"{best.first.label}, without a question", FRAME.right - 4, chart.y(best.value("agreed")) - 5, "end"),
        ]
    families: dict[str, list[Cell]] = {}
    for cell in sorted(asking, key=lambda cell: cell.per_class):
        families.setdefault(cell.first.label.partition(BUDGET)[0], []).append(cell)
    items = []
    for k, (name, cells) in enumerate(families.items()):
        color = f"c{k % COLORS + 1}"
        joined = chart.polyline([(cell.per_class, cell.value("agreed")) for cell in cells], "joined")
        parts.append(el("g", joined, [_marks(chart, cell) for cell in cells], class_=color))
        items.append(el("li", el("span", class_=f"dot {color}"), name))
    spoken = map(_spoken, asking)
    items.append(el("li", el("b", "diamond"), " as many questions about pictures of the same prior, without a search"))
    figure = chart.svg(parts, f"Questions and success. {'; '.join(spoken)}.")
    return el("div", figure, el("ul", items, class_="legend"))


def _marks(chart: Chart, cell: Cell) -> list[Html]:
    x, agreed = chart.x(cell.per_class), cell.metric("agreed")
    assert agreed is not None
    found = []
    if agreed.low == agreed.low:  # no interval is NaN
        found.append(
            el("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=f"{chart.y(agreed.low):.1f}", y2=f"{chart.y(agreed.high):.1f}",
               class_="interval")
        )  # fmt: skip
    found.append(circle(x, chart.y(agreed.value), 5, el("title", _spoken(cell)), "point"))
    if (sampled := cell.metric("agreed", sampled=True)) is not None:
        found.append(
            diamond(x, chart.y(sampled.value), 5, el("title", f"without a search: {sampled.value:.0%}"), "point")
        )
    return found


def _spoken(cell: Cell) -> str:
    return f"{cell.first.label}: {cell.value('agreed'):.0%} with {cell.per_class:,.0f} questions"
