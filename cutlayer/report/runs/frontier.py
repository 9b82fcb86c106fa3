"""The frontier: what leaks and who is identified, against accuracy and against the time of a request.

Each defense at each strength is one mark with its intervals; a line joins the settings that no other one betters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cutlayer.records.run import Estimate
from cutlayer.report.kit.figure import Name, figure, mark
from cutlayer.report.kit.markup import Html, el, note, section
from cutlayer.report.kit.svg import (
    GLYPHS,
    LETTER,
    Axis,
    Box,
    Chart,
    Frame,
    circle,
    domain,
    glyph,
    percent,
    place,
    round_ticks,
    text,
    ticks,
)
from cutlayer.report.kit.wording import IDENTIFIED, LEAKAGE_GAIN, duration
from cutlayer.report.runs import usefulness
from cutlayer.report.runs.groups import Family, Group
from cutlayer.report.runs.settings import Setting

WIDTH, PLOT, KEY_ROW = 430.0, 330.0, 18.0
MOST_NAMES = 40
"""Settings up to which the marks have their strengths beside them."""
_SHAPES = tuple(GLYPHS)[:-1]


@dataclass(frozen=True)
class Quantity:
    """What an axis shows of a setting.

    Attributes:
        title: Title of the axis, with the unit.
        of: The estimate of a setting.
        better: 1 where more is better, -1 where less is.
        share: Whether it is a share, from 0 to 1; else it is a time in ns.
    """

    name: str
    title: str
    of: Callable[[Setting], Estimate]
    better: int
    share: bool = True


LEAKAGE = Quantity("leakage", "Worst-case leakage gain, %", lambda setting: setting.leakage, -1)
IDENTITY = Quantity("identified", "Identified, %", lambda setting: setting.identified, -1)
UTILITY = Quantity("accuracy", "Accuracy, %", lambda setting: setting.usefulness, 1)
"""A group whose answers are vectors has another one in its place: see `utility_of`."""
TIME = Quantity("latency", "Time of a request, p50, ms", lambda setting: setting.request_ns(), -1, share=False)


def utility_of(group: Group) -> Quantity:
    """What the answers are worth, as the group calls it."""
    useful = usefulness.of(group)
    return replace(UTILITY, name=useful.name, title=useful.scale.heading)


def frontier(group: Group) -> Html | None:
    """The four figures; None where one setting alone has nothing to be compared with."""
    words, useful = told(group), utility_of(group)
    panels = [
        _panel(group, across, up, words)
        for up in (LEAKAGE, IDENTITY)
        for across in (useful, TIME)
        if len(_known(group, across, up)) > 1
    ]
    if not panels:
        return None
    seeds = " Bars reach over the intervals of all seeds." if len(group.seeds) > 1 else ""
    where = f" over {group.deployments[0]}" if group.deployments else ""
    explained = (
        f"Lower is better: less leaks, fewer are identified. Further right is better for the {useful.name}, further "
        f"left for the time of a request{where}. Bars are 95 % intervals.{seeds} The stepped line joins what no other "
        "setting betters in both; a mark whose bars reach it is not told apart from those on it. A mark leads to the "
        f"{group.kind.many} of its setting."
    )
    return section(f"Privacy, {useful.name} and time", note(explained), el("div", panels, class_="panels"))


def on_the_line(settings: Sequence[Setting], across: Quantity, up: Quantity) -> list[Setting]:
    """The settings that no other one betters in one figure and equals in the other, the best across last."""
    # Less is better in both.
    costs = [(-across.better * across.of(s).value, -up.better * up.of(s).value, s) for s in settings]
    best, line = math.inf, list[Setting]()
    for _, value, setting in sorted((c for c in costs if math.isfinite(c[0] + c[1])), key=lambda c: c[:2]):
        if value < best:
            best = value
            line.append(setting)
    return line[::-1]


def told(group: Group) -> dict[str, str]:
    """Each setting in one sentence, by its anchor: its figures, with their intervals, and whether it is on a line."""
    ways = {utility_of(group).name: UTILITY, "time": TIME}
    lines = {name: on_the_line(group.settings, across, LEAKAGE) for name, across in ways.items()}
    words = {}
    for setting in group.settings:
        on = [name for name, line in lines.items() if any(setting is other for other in line)]
        tail = f"; no other setting betters it in leakage and {' or in leakage and '.join(on)}" if on else ""
        words[setting.anchor] = f"{setting.label}: {', '.join(_figures(setting))}{tail}."
    return words


def _figures(setting: Setting) -> list[str]:
    useful, kept = usefulness.of_setting(setting), setting.usefulness
    figures = [f"{useful.name} {_measured(kept, useful.scale.value, useful.scale.interval(kept))}"]
    leakage, identified, time = setting.leakage, setting.identified, setting.request_ns()
    if math.isfinite(leakage.value):
        measured = _measured(leakage, LEAKAGE_GAIN.value, LEAKAGE_GAIN.interval(leakage))
        figures.append(f"leakage gain {measured} by {setting.attackers}")
    if math.isfinite(identified.value):
        found = setting.identifier
        measured = _measured(identified, IDENTIFIED.value, IDENTIFIED.interval(identified))
        figures.append(f"identified {measured}{f' by {found.label}' if found else ''}")
    if math.isfinite(time.value):
        between = f"{duration(time.low)} to {duration(time.high)}" if math.isfinite(time.low) else ""
        figures.append(f"a request takes {_measured(time, duration, between)}")
    return figures


def _measured(estimate: Estimate, value: Callable[[float], str], interval: str) -> str:
    return value(estimate.value) + (f" ({interval})" if interval else "")


def _known(group: Group, across: Quantity, up: Quantity) -> list[Setting]:
    return [s for s in group.settings if math.isfinite(across.of(s).value) and math.isfinite(up.of(s).value)]


def _panel(group: Group, across: Quantity, up: Quantity, words: Mapping[str, str]) -> Html:
    settings = _known(group, across, up)
    key = _key(group.families, PLOT)
    frame = Frame(WIDTH, PLOT, left=46.0, right=WIDTH - 10, top=14.0, bottom=PLOT - 50)
    chart = Chart(frame, _axis(across, settings), _axis(up, settings))
    drawn = {setting.anchor: _at(chart, across.of(setting), up.of(setting)) for setting in settings}
    front = on_the_line(settings, across, up)
    taken: list[Box] = [(x - 6, y - 6, 12.0, 12.0) for x, y in drawn.values()]
    marks, names = list[Html](), list[Html]()
    for family in group.families:
        for setting in (s for s in family.settings if s.anchor in drawn):
            x, y = drawn[setting.anchor]
            bars = _bars(chart, across.of(setting), up.of(setting), x, y)
            parts = [el("title", setting.label), circle(x, y, 11, class_="ring")]
            parts += [el("path", d=bars, class_=f"interval l{family.color}")] if bars else []
            parts.append(_glyph(family, x, y))
            marks.append(mark(f"#{setting.anchor}", words[setting.anchor], parts, f"k{family.color}", first=not marks))
            if len(settings) <= MOST_NAMES:
                names += _name(x, y, "none" if setting.undefended else setting.strength, taken, frame.area)
    lines = [_family_line(family, chart, drawn) for family in group.families] if across is not TIME else []
    title = f"{up.title.partition(',')[0]} against {'the time of a request' if across is TIME else across.name}"
    described = f"{title}, for {len(settings)} settings. On the line: {', '.join(s.label for s in front)}."
    file = f"{group.title} {up.name} {across.name}"
    name = Name(f"{group.anchor}-{up.name}-{across.name}", file, title, described)
    step = el("path", d=_steps(chart, front, drawn, across.better, max(frame.top, chart.y(1.0))), class_="pareto")
    drawing = [chart.axes(), el("g", lines), step, el("g", marks), el("g", names), key[1]]
    return figure(name, [(WIDTH, PLOT + key[0], drawing, "")], marks=True)


def _axis(quantity: Quantity, settings: Sequence[Setting]) -> Axis:
    estimates = [quantity.of(setting) for setting in settings]
    values = [v for e in estimates for v in (e.value, e.low, e.high) if math.isfinite(v)]
    if quantity.of is UTILITY.of:
        low, high = domain(values, least=0.05)
        words = percent if quantity.title == UTILITY.title else "{:.4g}".format
        return Axis(low, high, ticks(low, high), words, quantity.title)
    if quantity.share:
        low = min([0.0, *values])
        low = 0.0 if low >= 0 else max(math.floor(low * 10) / 10, -1.0)
        marks = (0.0, 0.25, 0.5, 0.75, 1.0) if low == 0 else round_ticks(low, 1.0)
        return Axis(low - 0.02, 1.04, marks, percent, quantity.title)
    air = 0.08 * (max(values) - min(values)) or 0.05 * max(values)
    low, high = max(0.0, min(values) - air), max(values) + air
    at = round_ticks(low / 1e6, high / 1e6)
    digits = max(0, -math.floor(math.log10(at[1] - at[0]) + 1e-9)) if len(at) > 1 else 2
    return Axis(low, high, [tick * 1e6 for tick in at], lambda ns: f"{ns / 1e6:.{digits}f}", quantity.title)


def _at(chart: Chart, across: Estimate, up: Estimate) -> tuple[float, float]:
    frame = chart.frame
    x, y = chart.x(across.value), chart.y(up.value)
    return min(max(x, frame.left), frame.right), min(max(y, frame.top), frame.bottom)


def _bars(chart: Chart, across: Estimate, up: Estimate, x: float, y: float) -> str:
    """Both intervals as one path."""
    frame, path = chart.frame, ""
    if math.isfinite(across.low) and math.isfinite(across.high):
        left, right = (min(max(chart.x(v), frame.left), frame.right) for v in (across.low, across.high))
        path += f"M{left:.1f} {y:.1f}H{right:.1f}"
    if math.isfinite(up.low) and math.isfinite(up.high):
        top, bottom = (min(max(chart.y(v), frame.top), frame.bottom) for v in (up.high, up.low))
        path += f"M{x:.1f} {top:.1f}V{bottom:.1f}"
    return path


def _steps(
    chart: Chart, front: Sequence[Setting], drawn: dict[str, tuple[float, float]], better: int, top: float
) -> str:
    """The edge of what is attained, up to `top`: beyond it lies what no setting offers, the best in a corner."""
    if not front:
        return ""
    frame = chart.frame
    # From the worst across to the best.
    places = [drawn[setting.anchor] for setting in front]
    path = f"M{frame.left if better > 0 else frame.right:.1f} {places[0][1]:.1f}"
    for x, y in places:
        path += f"V{y:.1f}H{x:.1f}"
    return f"{path}V{top:.1f}"


def _family_line(family: Family, chart: Chart, drawn: dict[str, tuple[float, float]]) -> Html | None:
    """The strengths of a family, from the one that leaks most; those with a title of their own are controls."""
    own = [s for s in family.settings if not s.titled and s.anchor in drawn]
    own.sort(key=lambda s: -s.leakage.value)
    if len(own) < 2:
        return None
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (drawn[s.anchor] for s in own))
    return el("polyline", points=points, class_=f"family l{family.color}")


def _name(x: float, y: float, label: str, taken: list[Box], area: Box) -> list[Html]:
    """The strength beside a mark, where there is room close to it."""
    before = len(taken)
    tx, ty, anchor = place(x, y, label, taken, area)
    return [text(label, tx, ty, anchor, "name")] if len(taken) > before and abs(ty - 4 - y) < 30 else []


def _glyph(family: Family, x: float, y: float) -> Html:
    shape = "diamond" if family.color == 0 else _SHAPES[(family.shape - 1) % len(_SHAPES)]
    return glyph(shape, x, y, 5.5)


def _key(families: Sequence[Family], top: float) -> tuple[float, Html]:
    """The marks and the names of the defenses below a figure, and the height that they take."""
    parts, x, y = list[Html](), 14.0, top + 4
    for family in families:
        name = "no defense" if family.color == 0 else family.name
        width = 22 + LETTER * len(name)
        if x + width > WIDTH and x > 14:
            x, y = 14.0, y + KEY_ROW
        parts += [el("g", _glyph(family, x, y), class_=f"k{family.color}"), text(name, x + 11, y + 4, class_="key")]
        x += width
    return y - top + 12, el("g", parts)
