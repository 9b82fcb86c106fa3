"""One small chart for each defense of a sweep: worst-case leakage against accuracy, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from cutlayer.records.run import Estimate
from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.svg import Axis, Chart, Frame, circle, diamond, domain, percent, text, ticks
from cutlayer.report.kit.wording import duration, size
from cutlayer.report.runs.settings import Setting

FRAME = Frame(300.0, 210.0, left=34.0, right=292.0, top=12.0, bottom=172.0)
RADII = (3.5, 9.0)
"""Radii of the points with the shortest and the longest time."""
SHADES = 5
"""Classes b0 (fewest bytes) ... b4 (most) of the style sheet."""


def curves(settings: Sequence[Setting], baseline: Estimate) -> list[Html]:
    """A chart for each family: its strengths joined by a line, those of all others grey behind them; and a legend.

    Settings that a plan has given a name, such as controls, are points beside the line.
    The point of no defense and the line of the mean image are on each: the two ends.
    """
    settings = [s for s in settings if math.isfinite(s.leakage.value) and math.isfinite(s.accuracy.value)]
    low, high = domain([*(s.accuracy.value for s in settings), baseline.value], least=0.05)
    left = min([-0.04, *(s.leakage.value - 0.03 for s in settings)])
    across = Axis(left, 1.02, (0.0, 0.5, 1.0), percent)
    chart = Chart(FRAME, across, Axis(low, high, ticks(low, high), percent))

    def at(setting: Setting) -> tuple[float, float]:
        return chart.x(min(setting.leakage.value, 1.0)), chart.y(setting.accuracy.value)

    def radius(setting: Setting) -> float:
        time_ns = setting.time_ns(stage="protect")
        share = 0.0 if time_ns is None else _share(time_ns, times, otherwise=0.0)
        return RADII[0] + share * (RADII[1] - RADII[0])

    def shade(setting: Setting) -> str:
        return "" if setting.tensor_bytes is None else f" b{_shade(setting.tensor_bytes, sizes)}"

    def panel(name: str, own: list[Setting]) -> Html:
        own = sorted(own, key=lambda s: -s.leakage.value)
        grey = [circle(*at(s), 2, class_="other") for s in settings]
        curve = chart.polyline([(min(s.leakage.value, 1.0), s.accuracy.value) for s in own if not s.titled], "curve")
        diamonds = [diamond(*at(s), 6, el("title", _spoken(s)), "bare") for s in settings if s.undefended]
        marks = [circle(*at(s), radius(s), el("title", _spoken(s)), f"mark{shade(s)}") for s in own]
        spoken = "; ".join(_spoken(s) for s in own)
        parts = [chart.axes(), titles, grey, curve, diamonds, marks]
        return el("figure", el("figcaption", name), chart.svg(parts, f"{name}. {spoken}.", None))

    titles = [
        chart.upright(0.0),
        text("worst-case leakage gain, %", FRAME.right, FRAME.height - 6, "end"),
        text("accuracy, %", chart.x(0.0) + 6, FRAME.top + 2),
    ]
    known = [s.time_ns(stage="protect") for s in settings if not s.undefended]
    times = [time for time in known if time is not None]
    sizes = sorted({s.tensor_bytes for s in settings if s.tensor_bytes is not None})
    families = groupby((s for s in settings if not s.undefended), key=lambda s: s.family)
    charts = [panel(name, list(own)) for name, own in families]
    return [el("div", charts, class_="curves"), _legend(times, sizes)]


def _legend(times: Sequence[float], sizes: Sequence[int]) -> Html:
    """The meaning of the size and the color of a point."""
    items = [el("li", el("b", "diamond"), " no defense"), el("li", el("b", "dashed line"), " the mean image")]
    if times:
        span = f" the time of the defense on the device (p50), from {duration(min(times))} to {duration(max(times))}"
        items.append(el("li", el("b", "size"), span))
    for shade in range(SHADES):
        if same := [count for count in sizes if _shade(count, sizes) == shade]:
            sent = size(same[0]) if same[0] == same[-1] else f"{size(same[0])} to {size(same[-1])}"
            items.append(el("li", el("span", class_=f"swatch b{shade}"), f"{sent} released"))
    return el("ul", items, class_="legend")


def _shade(count: int, sizes: Sequence[int]) -> int:
    return min(SHADES - 1, int(_share(count, sizes, otherwise=1.0) * SHADES))


def _share(value: float, values: Sequence[float], *, otherwise: float) -> float:
    """Where a value lies between the least (0) and the greatest (1), by its logarithm; `otherwise` if all are equal."""
    low, high = min(values), max(values)
    return math.log(value / low) / math.log(high / low) if 0 < low < high else otherwise


def _spoken(setting: Setting) -> str:
    where = f"leakage gain {setting.leakage.value:.1%}, accuracy {setting.accuracy.value:.1%}"
    if math.isfinite(setting.identified.value):
        where += f", identified {setting.identified.value:.1%}"
    return f"{setting.label}: {where}, {duration(setting.time_ns(stage='protect'))}, {size(setting.tensor_bytes)}"
