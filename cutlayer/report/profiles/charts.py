"""The two charts of a profile, as inline SVG: latency against bandwidth, and the Pareto set."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from typing import Any

from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.svg import LETTER, Axis, Chart, Frame, decades, domain, place, ticks
from cutlayer.report.kit.wording import duration, rate, size

FRAME = Frame(760.0, 400.0, left=70.0, right=724.0, top=24.0, bottom=340.0)
FROM_BPS, TO_BPS = 1e4, 1e10
STEPS = 240


def bandwidth_curve(data: Mapping[str, Any]) -> Html:
    """The fastest cut at every bandwidth, all choices grey behind it, and where the best one changes."""
    lines = data["bandwidth"]["lines"]
    if not lines:
        return el("p", "No cut keeps the limits on leakage and accuracy.", class_="empty")
    grid = [FROM_BPS * (TO_BPS / FROM_BPS) ** (i / STEPS) for i in range(STEPS + 1)]
    curves = [[(bps, one["fixed_ns"] + 8e9 * one["n_bytes"] / bps) for bps in grid] for one in lines]
    lowest = [(bps, min(curve[i][1] for curve in curves)) for i, bps in enumerate(grid)]
    alone = None if data["local_ns"] is None else data["local_ns"]["p50"]
    low, high = min([lowest[-1][1], *([alone] if alone else [])]) / 1.6, lowest[0][1] * 1.6
    across = _logarithmic(FROM_BPS, TO_BPS, rate, "Rate up from the device")
    chart = Chart(FRAME, across, _logarithmic(low, high, duration))
    parts = [chart.axes()]
    parts += [chart.polyline([(b, ns) for b, ns in curve if ns < high], "faint") for curve in curves]
    parts.append(chart.polyline(lowest, "curve"))
    if alone:
        parts.append(chart.level(alone))
        parts.append(el("text", "the device alone", x=FRAME.left + 6, y=f"{chart.y(alone) - 6:.1f}", class_="note"))
    for number, reign in enumerate(data["bandwidth"]["best"], 1):
        low_bps = max(reign["from_bps"], FROM_BPS)
        high_bps = min(reign["to_bps"] or TO_BPS, TO_BPS)
        if low_bps >= high_bps:
            continue
        if low_bps > FROM_BPS:
            parts.append(chart.upright(low_bps))
        # By its number in the table; by its name, too, where there is room for it.
        start, end = chart.x(low_bps), chart.x(high_bps)
        width, named = end - start, f"{number} {reign['choice']}"
        words = named if width > LETTER * len(named) else str(number)
        middle, level = (start + end) / 2, FRAME.top + 12 + 15 * (number % 2)
        parts.append(
            el("text", words, x=f"{middle:.1f}", y=f"{level:.1f}", text_anchor="middle", class_="name")
        )  # fmt: skip
    spoken = "; ".join(f"{r['choice']} from {rate(r['from_bps'])}" for r in data["bandwidth"]["best"])
    return chart.svg(parts, f"Latency against bandwidth. The fastest: {spoken}.")


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
    across = _logarithmic(*ns_span, duration, f"{title} against end-to-end latency over {network}, p50")
    up = _logarithmic(*_span(values), _size) if span is None else Axis(*span, ticks(*span), _share)
    chart = Chart(FRAME, across, up)
    x, y, parts = chart.x, chart.y, [chart.axes()]
    if late is not None and ns_span[0] < late < ns_span[1]:
        parts.append(chart.upright(late))
        parts.append(el("text", "limit", x=f"{x(late) + 6:.1f}", y=FRAME.bottom - 6, class_="note"))
    if limit is not None:
        parts.append(chart.level(limit))
        parts.append(el("text", "limit", x=FRAME.right, y=f"{y(limit) - 6:.1f}", text_anchor="end", class_="note"))
    points = sorted(points, key=lambda point: point[:2] in kept)
    taken = [(x(ns) - 6, y(value(told)) - 6, 12.0, 12.0) for *_, ns, told in points]
    for cut, codec, ns, told in points:
        best, at = (cut, codec) in kept, y(value(told))
        known = [f"{name} {told[name]['value']:.3f}" for name in ("leakage", "accuracy") if name in told]
        words = ", ".join([f"{cut} with {codec}: {duration(ns)}, {size(told['message_bytes'])}", *known])
        dot = el("circle", el("title", words), cx=f"{x(ns):.1f}", cy=f"{at:.1f}", r=6 if best else 4)
        label = None
        if best:
            tx, ty, anchor = place(x(ns), at, f"{cut} {codec}", taken, FRAME.area)
            label = el("text", f"{cut} {codec}", x=f"{tx:.1f}", y=f"{ty:.1f}", text_anchor=anchor, class_="name")
        parts.append(el("g", dot, label, class_="point c1" if best else "point faint"))
    return chart.svg(parts, f"{title} against latency over {network}.")


def _logarithmic(low: float, high: float, label: Callable[[float], str], title: str = "") -> Axis:
    return Axis(low, high, decades(low, high), label, title, logarithmic=True)


def _share(value: float) -> str:
    return f"{value:.2g}"


def _size(count: float) -> str:
    return size(round(count))


def _span(values: Sequence[float]) -> tuple[float, float]:
    return min(values) / 1.5, max(values) * 1.5


def _known(name: str, told: Mapping[str, Any]) -> float:
    return float(told[name]["value"])
