"""The two charts of a profile, as inline SVG: latency against bandwidth, and the Pareto set."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from typing import Any

from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.svg import LETTER, domain, line, place, ticks
from cutlayer.report.kit.wording import duration, size
from cutlayer.report.profiles.terminal import rate

WIDTH, HEIGHT = 760.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 70.0, 724.0, 24.0, 340.0
FROM_BPS, TO_BPS = 1e4, 1e10
STEPS = 240
Scale = Callable[[float], float]


def bandwidth_curve(data: Mapping[str, Any]) -> Html:
    """The fastest cut at every bandwidth, all choices grey behind it, and where the best one changes."""
    lines = data["bandwidth"]["lines"]
    if not lines:
        return el("p", "No cut keeps the limits on leakage and accuracy.", class_="empty")
    grid = [FROM_BPS * (TO_BPS / FROM_BPS) ** (i / STEPS) for i in range(STEPS + 1)]
    curves = [[(bps, one["fixed_ns"] + 8e9 * one["n_bytes"] / bps) for bps in grid] for one in lines]
    lowest = [(bps, min(curve[i][1] for curve in curves)) for i, bps in enumerate(grid)]
    alone = None if data["local_ns"] is None else data["local_ns"]["p50"]
    x = _log(FROM_BPS, TO_BPS, LEFT, RIGHT)
    low = min([lowest[-1][1], *([alone] if alone else [])]) / 1.6
    y = _log(low, lowest[0][1] * 1.6, BOTTOM, TOP)
    parts = [_axes(x, y, (FROM_BPS, TO_BPS), (low, lowest[0][1] * 1.6), "Rate up from the device", rate)]
    parts += [_path([(b, ns) for b, ns in curve if ns < lowest[0][1] * 1.6], x, y, "faint") for curve in curves]
    parts.append(_path(lowest, x, y, "curve"))
    if alone:
        parts.append(line(LEFT, y(alone), RIGHT, y(alone), "reference"))
        parts.append(el("text", "the device alone", x=LEFT + 6, y=f"{y(alone) - 6:.1f}", class_="note"))
    for number, reign in enumerate(data["bandwidth"]["best"], 1):
        low_bps = max(reign["from_bps"], FROM_BPS)
        high_bps = min(reign["to_bps"] or TO_BPS, TO_BPS)
        if low_bps >= high_bps:
            continue
        if low_bps > FROM_BPS:
            parts.append(line(x(low_bps), TOP, x(low_bps), BOTTOM, "reference"))
        # By its number in the table; by its name, too, where there is room for it.
        width, named = x(high_bps) - x(low_bps), f"{number} {reign['choice']}"
        words = named if width > LETTER * len(named) else str(number)
        middle, level = (x(low_bps) + x(high_bps)) / 2, TOP + 12 + 15 * (number % 2)
        parts.append(
            el("text", words, x=f"{middle:.1f}", y=f"{level:.1f}", text_anchor="middle", class_="name")
        )  # fmt: skip
    spoken = "; ".join(f"{r['choice']} from {rate(r['from_bps'])}" for r in data["bandwidth"]["best"])
    return _svg(parts, f"Latency against bandwidth. The fastest: {spoken}.")


def pareto_plots(data: Mapping[str, Any], network: str) -> list[Html]:
    """Latency against bytes sent on one network, and against leakage and accuracy where they are known.

    What nothing beats in all of them at once is filled and named.
    """
    front = next(told["pareto"] for told in data["recommendations"] if told["network"] == network)
    kept = {(one["cut"], one["codec"]) for one in front}
    points = [
        (cut["cut"], codec, cut["networks"][network][codec]["end_to_end_ns"]["p50"], told)
        for cut in data["cuts"]
        for codec, told in cut["codecs"].items()
    ]
    limits = data["limits"]
    late = limits["latency_ns"]
    plots = [_plot(points, kept, network, "Bytes sent", lambda told: float(told["message_bytes"]), None, late, None)]
    for name, title in (("leakage", "Leakage gain"), ("accuracy", "Accuracy")):
        if all(name in told for *_, told in points):
            known = [told[name]["value"] for *_, told in points]
            asked = [] if limits[name] is None else [limits[name]]
            span = domain([*known, *asked], least=0.1)
            # A leakage gain is below 0 where the attack does worse than the mean image.
            span = min([span[0], *known]), span[1]
            plots.append(_plot(points, kept, network, title, partial(_known, name), span, late, limits[name]))
    return plots


def _plot(
    points: Sequence[tuple[str, str, float, Mapping[str, Any]]],
    kept: Container[tuple[str, str]],
    network: str,
    title: str,
    value: Callable[[Mapping[str, Any]], float],
    span: tuple[float, float] | None,
    late: float | None,
    limit: float | None,
) -> Html:
    """One dot for each choice; `span` of a linear axis up, a logarithmic one where it is None; limits as lines."""
    ns_span, values = _span([ns for *_, ns, _ in points]), [value(told) for *_, told in points]
    x, up = _log(*ns_span, LEFT, RIGHT), span or _span(values)
    y = _log(*up, BOTTOM, TOP) if span is None else _linear(*up, BOTTOM, TOP)
    words_y, marks = (_size, None) if span is None else (_share, ticks(*up))
    parts = [
        _axes(x, y, ns_span, up, f"{title} against end-to-end latency over {network}, p50", duration, words_y, marks)
    ]
    if late is not None and ns_span[0] < late < ns_span[1]:
        parts.append(line(x(late), TOP, x(late), BOTTOM, "reference"))
        parts.append(el("text", "limit", x=f"{x(late) + 6:.1f}", y=BOTTOM - 6, class_="note"))
    if limit is not None:
        parts.append(line(LEFT, y(limit), RIGHT, y(limit), "reference"))
        parts.append(el("text", "limit", x=RIGHT, y=f"{y(limit) - 6:.1f}", text_anchor="end", class_="note"))
    points = sorted(points, key=lambda point: point[:2] in kept)
    taken = [(x(ns) - 6, y(value(told)) - 6, 12.0, 12.0) for *_, ns, told in points]
    for cut, codec, ns, told in points:
        best, at = (cut, codec) in kept, y(value(told))
        known = [f"{name} {told[name]['value']:.3f}" for name in ("leakage", "accuracy") if name in told]
        words = ", ".join([f"{cut} with {codec}: {duration(ns)}, {size(told['message_bytes'])}", *known])
        dot = el("circle", el("title", words), cx=f"{x(ns):.1f}", cy=f"{at:.1f}", r=6 if best else 4)
        label = None
        if best:
            tx, ty, anchor = place(x(ns), at, f"{cut} {codec}", taken, (LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP))
            label = el("text", f"{cut} {codec}", x=f"{tx:.1f}", y=f"{ty:.1f}", text_anchor=anchor, class_="name")
        parts.append(el("g", dot, label, class_="point c1" if best else "point faint"))
    return _svg(parts, f"{title} against latency over {network}.")


def _axes(
    x: Scale, y: Scale, across: tuple[float, float], up: tuple[float, float], title: str,
    words_x: Callable[[float], str], words_y: Callable[[float], str] = duration,
    marks: Sequence[float] | None = None,
) -> Html:  # fmt: skip
    parts = []
    for tick in _decades(*up) if marks is None else marks:
        parts.append(line(LEFT, y(tick), RIGHT, y(tick), "grid"))
        parts.append(el("text", words_y(tick), x=LEFT - 8, y=f"{y(tick) + 4:.1f}", text_anchor="end"))
    for tick in _decades(*across):
        parts.append(line(x(tick), BOTTOM, x(tick), BOTTOM + 5, "axis"))
        parts.append(el("text", words_x(tick), x=f"{x(tick):.1f}", y=BOTTOM + 20, text_anchor="middle"))
    parts.append(line(LEFT, BOTTOM, RIGHT, BOTTOM, "axis"))
    parts.append(el("text", title, x=(LEFT + RIGHT) / 2, y=HEIGHT - 14, text_anchor="middle", class_="title"))
    return el("g", parts)


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten inside a span, and as many steps between them as make three ticks."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1,), (1, 2, 5), range(1, 10), [i / 10 for i in range(10, 100)]):
        found = [s * 10.0**e for e in range(first, last + 1) for s in steps if low <= s * 10.0**e <= high]
        if len(found) > 2:
            break
    return found


def _share(value: float) -> str:
    return f"{value:.2g}"


def _size(count: float) -> str:
    return size(round(count))


def _span(values: Sequence[float]) -> tuple[float, float]:
    return min(values) / 1.5, max(values) * 1.5


def _log(low: float, high: float, start: float, end: float) -> Scale:
    """Logarithms of [low, high] onto [start, end]."""
    return lambda value: start + math.log(value / low) / math.log(high / low) * (end - start)


def _known(name: str, told: Mapping[str, Any]) -> float:
    return float(told[name]["value"])


def _linear(low: float, high: float, start: float, end: float) -> Scale:
    """[low, high] onto [start, end]."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _path(points: Sequence[tuple[float, float]], x: Scale, y: Scale, class_: str) -> Html:
    return el("polyline", points=" ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points), class_=class_)


def _svg(parts: Sequence[Html], label: str) -> Html:
    return el(
        "svg", parts, viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", class_="scatter", role="img", aria_label=label
    )  # fmt: skip
