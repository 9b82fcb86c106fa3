"""The charts of a profile, as inline SVG: latency against bandwidth, and the Pareto set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from cutlayer.records.profile import CodecRecord, Profile
from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.svg import LETTER, Axis, Chart, Frame, circle, decades, domain, named, text, ticks
from cutlayer.report.kit.wording import duration, rate, size

FRAMES = {
    "wide-screen": Frame(760.0, 400.0, left=70.0, right=724.0, top=24.0, bottom=340.0),
    "narrow-screen": Frame(358.0, 380.0, left=60.0, right=350.0, top=24.0, bottom=320.0),
}
"""Frames by the class of the style sheet that shows the drawing: text has the size of the page's text on both."""

FROM_BPS, TO_BPS = 1e4, 1e10
STEPS = 240


def bandwidth_curve(profile: Profile) -> list[Html]:
    """The fastest cut at every bandwidth, all choices grey behind it, and where the best one changes, for each screen.

    The recommended choice of each network is a point with its whole latency, the round trip included.
    """
    if not profile.bandwidth.lines:
        return [el("p", "No cut keeps the limits on leakage and accuracy.", class_="empty")]
    return [_bandwidth_curve(profile, frame, screen) for screen, frame in FRAMES.items()]


def _bandwidth_curve(profile: Profile, frame: Frame, screen: str) -> Html:
    lines, best = profile.bandwidth.lines, profile.bandwidth.best
    points = _recommended(profile)
    grid = [FROM_BPS * (TO_BPS / FROM_BPS) ** (i / STEPS) for i in range(STEPS + 1)]
    lowest = [(bps, min(line.ns(bps) for line in lines)) for bps in grid]
    alone_ns = None if profile.local_ns is None else profile.local_ns.p50
    shown = [lowest[0][1], lowest[-1][1], *(ns for _, _, ns in points), *([alone_ns] if alone_ns else [])]
    # There is room above for the labels of the choices.
    low, high = min(shown) / 1.6, max(shown) * 5
    across = _logarithmic(FROM_BPS, TO_BPS, rate, "Rate of the network, up and down")
    chart = _chart(frame, across, _logarithmic(low, high, duration))
    parts = [chart.axes()]
    parts += [chart.polyline([(b, line.ns(b)) for b in grid if line.ns(b) < high], "faint") for line in lines]
    parts.append(chart.polyline(lowest, "curve"))
    if alone_ns:
        parts.append(chart.level(alone_ns))
        parts.append(text("the device alone", frame.left + 6, chart.y(alone_ns) - 6, class_="note"))
    for number, span in enumerate(best, 1):
        low_bps, high_bps = max(span.from_bps, FROM_BPS), min(span.to_bps or TO_BPS, TO_BPS)
        if low_bps >= high_bps:
            continue
        if low_bps > FROM_BPS:
            parts.append(chart.upright(low_bps))
        # The label is the number in the table, and the name where there is room for it.
        start, end = chart.x(low_bps), chart.x(high_bps)
        full = f"{number} {span.choice}"
        label = full if end - start > LETTER * len(full) else str(number)
        parts.append(text(label, (start + end) / 2, frame.top + 12 + 15 * (number % 2), "middle", "name"))
    taken = [(chart.x(bps) - 6, chart.y(ns) - 6, 12.0, 12.0) for _, bps, ns in points]
    for name, bps, ns in points:
        x, y = chart.x(bps), chart.y(ns)
        label_of = named(x, y, name, taken, frame.area)
        parts.append(el("g", circle(x, y, 5, el("title", f"{name}: {duration(ns)}")), label_of, class_="point c2"))
    spoken = "; ".join(f"{span.choice} from {rate(span.from_bps)}" for span in best)
    return chart.svg(parts, f"Latency against bandwidth. The fastest: {spoken}.", f"scatter {screen}")


def _recommended(profile: Profile) -> list[tuple[str, float, float]]:
    """The networks with a rate and a recommended choice: name, rate up, and latency of that choice in ns."""
    rates = {name: network.up_bps for name, network in profile.networks.items()}
    return [
        (entry.network, bps, entry.best.latency_ns)
        for entry in profile.recommendations
        if entry.best and (bps := rates[entry.network]) is not None and FROM_BPS <= bps <= TO_BPS
    ]


class _Dot(NamedTuple):
    """A choice in a plot; `best` are those of the Pareto set."""

    cut: str
    codec: str
    ns: float
    record: CodecRecord
    best: bool

    @property
    def text(self) -> str:
        """The choice with all its figures."""
        quality = [f"{name} {estimate.value:.3f}" for name, estimate in reversed(self.record.quality.known.items())]
        figures = [duration(self.ns), size(self.record.message_bytes), *quality]
        return f"{self.cut} with {self.codec}: {', '.join(figures)}"


def pareto_plots(profile: Profile, network: str) -> list[Html]:
    """Latency against bytes sent on one network, and against leakage and accuracy where they are known.

    The choices that no other beats in all of them at once are filled and named.
    """
    (recommendation,) = (entry for entry in profile.recommendations if entry.network == network)
    best = {(choice.cut, choice.codec) for choice in recommendation.pareto}
    dots = [
        _Dot(cut.cut, codec, cut.networks[network][codec].end_to_end_ns.p50, record, (cut.cut, codec) in best)
        for cut in profile.cuts
        for codec, record in cut.codecs.items()
    ]
    limits = profile.limits
    sizes = [float(dot.record.message_bytes) for dot in dots]
    up = _logarithmic(*_around(sizes), lambda n: size(round(n)))
    plots = _plots(dots, sizes, network, "Bytes sent", up, limits.latency_ns)
    for name, title, limit in (("leakage", "Leakage gain", limits.leakage), ("accuracy", "Accuracy", limits.accuracy)):
        if all(name in dot.record.quality.known for dot in dots):
            values = [dot.record.quality.known[name].value for dot in dots]
            low, high = domain([*values, *([] if limit is None else [limit])], least=0.1)
            # A leakage gain is below 0 where the attack does worse than the mean image.
            low = min([low, *values])
            up = Axis(low, high, ticks(low, high), "{:.2g}".format)
            plots += _plots(dots, values, network, title, up, limits.latency_ns, limit)
    return plots


def _plots(
    dots: Sequence[_Dot],
    values: Sequence[float],
    network: str,
    title: str,
    up: Axis,
    latency_limit_ns: float | None,
    limit: float | None = None,
) -> list[Html]:
    """One dot for each choice, with its value on the axis up, and the limits as lines, for each screen."""
    low_ns, high_ns = _around([dot.ns for dot in dots])
    drawings = []
    for screen, frame in FRAMES.items():
        words = f"{title} against end-to-end latency over {network}, p50" if screen == "wide-screen" else "Latency, p50"
        chart = _chart(frame, _logarithmic(low_ns, high_ns, duration, words), up)
        parts = _drawn(chart, dots, values, latency_limit_ns, limit)
        drawings.append(chart.svg(parts, f"{title} against latency over {network}.", f"scatter {screen}"))
    return drawings


def _drawn(
    chart: Chart, dots: Sequence[_Dot], values: Sequence[float], latency_limit_ns: float | None, limit: float | None
) -> list[Html]:
    frame = chart.frame
    parts = [chart.axes()]
    if latency_limit_ns is not None and chart.across.low < latency_limit_ns < chart.across.high:
        parts.append(chart.upright(latency_limit_ns))
        parts.append(text("limit", chart.x(latency_limit_ns) + 6, frame.bottom - 6, class_="note"))
    if limit is not None:
        parts.append(chart.level(limit))
        parts.append(text("limit", frame.right, chart.y(limit) - 6, "end", "note"))
    # Those of the Pareto set come last, above the others.
    placed = sorted(zip(dots, values, strict=True), key=lambda entry: entry[0].best)
    taken = [(chart.x(dot.ns) - 6, chart.y(value) - 6, 12.0, 12.0) for dot, value in placed]
    for dot, value in placed:
        x, y, label = chart.x(dot.ns), chart.y(value), list[Html]()
        disk = circle(x, y, 6 if dot.best else 4, el("title", dot.text))
        if dot.best:
            label = named(x, y, f"{dot.cut} {dot.codec}", taken, frame.area)
        parts.append(el("g", disk, label, class_="point c1" if dot.best else "point faint"))
    return parts


def _chart(frame: Frame, across: Axis, up: Axis) -> Chart:
    """A chart whose labels across do not overlap: on a narrow screen, only every second or third one is there."""
    chart, ticks, end = Chart(frame, across, up), list[float](), 0.0
    for tick in across.ticks:
        half = LETTER * len(across.label(tick)) / 2
        if chart.x(tick) - half > end and chart.x(tick) + half < frame.width:
            ticks.append(tick)
            end = chart.x(tick) + half + 4
    return replace(chart, across=replace(across, ticks=ticks))


def _logarithmic(low: float, high: float, label: Callable[[float], str], title: str = "") -> Axis:
    return Axis(low, high, decades(low, high), label, title, logarithmic=True)


def _around(values: Sequence[float]) -> tuple[float, float]:
    """A range with room around all values, for a logarithmic axis."""
    return min(values) / 1.5, max(values) * 1.5
