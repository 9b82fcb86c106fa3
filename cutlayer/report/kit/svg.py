"""Axes, lines, labels and bars as inline SVG, for every chart of every page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.wording import duration
from cutlayer.trace import STAGES

LETTER = 7.6
"""Width of one letter of a label, rounded up."""

Box = tuple[float, float, float, float]
"""Left, top, width and height."""


@dataclass(frozen=True)
class Axis:
    """One axis: the values that it spans and those that it labels.

    Attributes:
        low: Value at the left or lower end.
        high: Value at the right or upper end.
        ticks: Values with a label.
        label: Text of a tick.
        title: What the values are, with their unit; no title when empty.
        logarithmic: Whether equal distances are equal ratios.
    """

    low: float
    high: float
    ticks: Sequence[float]
    label: Callable[[float], str]
    title: str = ""
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high end."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Frame:
    """The size of a drawing and the area inside its axes, in user units."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float

    @property
    def area(self) -> Box:
        """The area inside the axes."""
        return self.left, self.top, self.right - self.left, self.bottom - self.top


@dataclass(frozen=True)
class Chart:
    """A drawing with an axis across, from left to right, and an axis up."""

    frame: Frame
    across: Axis
    up: Axis

    def x(self, value: float) -> float:
        """Place of a value of the axis across."""
        return self.frame.left + self.across.share(value) * (self.frame.right - self.frame.left)

    def y(self, value: float) -> float:
        """Place of a value of the axis up."""
        return self.frame.bottom - self.up.share(value) * (self.frame.bottom - self.frame.top)

    def upright(self, value: float, class_: str = "reference") -> Html:
        """A line over the whole height, at a value of the axis across."""
        return line(self.x(value), self.frame.top, self.x(value), self.frame.bottom, class_)

    def level(self, value: float, class_: str = "reference") -> Html:
        """A line over the whole width, at a value of the axis up."""
        return line(self.frame.left, self.y(value), self.frame.right, self.y(value), class_)

    def polyline(self, points: Sequence[tuple[float, float]], class_: str) -> Html:
        """A line through points given by their values."""
        return el("polyline", points=" ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in points), class_=class_)

    def axes(self) -> Html:
        """Grid, ticks, labels and titles."""
        frame, parts = self.frame, []
        for tick in self.up.ticks:
            parts.append(self.level(tick, "grid"))
            parts.append(text(self.up.label(tick), frame.left - 8, self.y(tick) + 4, "end"))
        for tick in self.across.ticks:
            parts.append(line(self.x(tick), frame.bottom, self.x(tick), frame.bottom + 5, "axis"))
            parts.append(text(self.across.label(tick), self.x(tick), frame.bottom + 19, "middle"))
        parts.append(line(frame.left, frame.bottom, frame.right, frame.bottom, "axis"))
        if self.across.title:
            middle = (frame.left + frame.right) / 2
            parts.append(text(self.across.title, middle, frame.height - 14, "middle", "title"))
        if self.up.title:
            turned = f"translate(14 {(frame.top + frame.bottom) / 2:.0f}) rotate(-90)"
            parts.append(el("text", self.up.title, transform=turned, text_anchor="middle", class_="title"))
        return el("g", parts)

    def svg(self, parts: Sequence[object], label: str, class_: str | None = "scatter") -> Html:
        """The whole drawing, from back to front, with a label in words for those who do not see it."""
        box = f"0 0 {self.frame.width:.0f} {self.frame.height:.0f}"
        return el("svg", parts, viewBox=box, class_=class_, role="img", aria_label=label)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    """A straight line of one class of the style sheet."""
    return el("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=class_)


def text(content: str, x: float, y: float, anchor: str | None = None, class_: str | None = None) -> Html:
    """A text that begins at a place; one with the anchor ``middle`` or ``end`` has its middle or its end there."""
    return el("text", content, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=class_)


def circle(x: float, y: float, radius: float, tooltip: Html | None = None, class_: str | None = None) -> Html:
    """A disk around a place."""
    return el("circle", tooltip, cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{radius:.1f}", class_=class_)


def diamond(x: float, y: float, radius: int, tooltip: Html | None = None, class_: str | None = None) -> Html:
    """A square on its corner around a place."""
    sides = f"l{radius} {radius}l-{radius} {radius}l-{radius}-{radius}z"
    return el("path", tooltip, d=f"M{x:.1f} {y - radius:.1f}{sides}", class_=class_)


GLYPHS = {
    "disk": "a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0-{d} 0z", "square": "m0-{s}h{e}v{e}h-{e}z",
    "triangle": "m0 {s}h{d}l-{r}-{d}z", "wedge": "m0-{s}h{d}l-{r} {d}z", "diamond": "l{r}-{r} {r} {r}-{r} {r}z",
}  # fmt: skip
"""Outlines of marks that are told apart without their colors, from their left end."""


def glyph(shape: str, x: float, y: float, radius: float) -> Html:
    """One of `GLYPHS` around a place."""
    sizes = {"r": radius, "d": 2 * radius, "s": 0.88 * radius, "e": 1.76 * radius}
    left = x - (0.88 * radius if shape == "square" else radius)
    outline = GLYPHS[shape].format(**{name: f"{size:.4g}" for name, size in sizes.items()})
    return el("path", d=f"M{left:.1f} {y:.1f}{outline}", class_="glyph")


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most so many round numbers inside a range of any size, 1, 2 or 5 times a power of ten apart."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * s for s in (1, 2, 5, 10, 20) if (high - low) / (power * s) < most)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def domain(values: Sequence[float], least: float) -> tuple[float, float]:
    """A range inside [0, 1] that holds all values with some air."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    air = max(0.12 * (high - low), (least - (high - low)) / 2, 0.01)
    return max(0.0, low - air), min(1.0, high + air)


def ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers inside a range."""
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / s <= 7 or s == 0.2)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten inside a range, and as many steps between them as make three ticks."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1,), (1, 2, 5), range(1, 10), [i / 10 for i in range(10, 100)]):
        values = [s * 10.0**e for e in range(first, last + 1) for s in steps if low <= s * 10.0**e <= high]
        if len(values) > 2:
            break
    return values


def apart(values: Sequence[float]) -> list[float]:
    """Those of rising values that have room for a label on a logarithmic axis."""
    kept: list[float] = []
    for value in values:
        if not kept or value / kept[-1] >= 1.8:
            kept.append(value)
    return kept


def percent(share: float) -> str:
    """A share as whole percent without the sign, for ticks."""
    return f"{share * 100:.0f}"


def place(px: float, py: float, label: str, taken: list[Box], area: Box) -> tuple[float, float, str]:
    """Where a label hits no point and no other label: the first free one of a few places around its point.

    Args:
        px: Horizontal place of the point.
        py: Vertical place of the point.
        label: Text of the label.
        taken: Boxes of points and labels; that of this label is added.
        area: Box that the label should not leave.

    Returns:
        Where the text begins, or ends, and its anchor.
    """
    left, top, right, bottom = area[0], area[1], area[0] + area[2], area[1] + area[3]
    width = LETTER * len(label)
    places = [
        (px + dx, py + dy, anchor)
        for step in range(12)
        for dy in (-9 - 15 * step, 17 + 15 * step)
        for dx, anchor in ((10, "start"), (-10, "end"))
    ]
    for tx, ty, anchor in places:
        box = (tx if anchor == "start" else tx - width, ty - 11, width, 14.0)
        inside = box[0] > left and box[0] + width < right and box[1] > top - 8 and ty < bottom - 2
        if inside and not any(_overlap(box, placed) for placed in taken):
            taken.append(box)
            return tx, ty, anchor
    return (px - 10, py - 9, "end") if px > (left + right) / 2 else (px + 10, py - 9, "start")


def named(px: float, py: float, label: str, taken: list[Box], area: Box) -> list[Html]:
    """A label beside its point, as `place` finds room; a line leads to it where another label stands between."""
    tx, ty, anchor = place(px, py, label, taken, area)
    middle = ty - 4
    leader = [] if abs(middle - py) < 20 else [line(px, py, tx - 3 if anchor == "start" else tx + 3, middle, "leader")]
    return [*leader, text(label, tx, ty, anchor, "name")]


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


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
