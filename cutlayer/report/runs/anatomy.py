"""Where the time of a request goes: one bar of stacked stages for each deployment of each setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.percentiles import LEAST_SAMPLES
from cutlayer.report.kit.figure import Name, figure
from cutlayer.report.kit.markup import Html, dot, el, note, row, section, table
from cutlayer.report.kit.svg import LETTER, line, round_ticks, text
from cutlayer.report.kit.wording import DASH, STAGE_WORDS, duration
from cutlayer.report.runs import tables
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.settings import Setting, typical
from cutlayer.trace import STAGES

WIDTHS = {"wide-screen": 1080.0, "narrow-screen": 358.0}
"""Widths by the class of the style sheet that shows the drawing: letters have the size of the page's on both."""
ROW, BAR, BAND = 44.0, 18.0, 30.0


@dataclass(frozen=True)
class Request:
    """A typical request of one setting over one deployment: the ns of its stages, none without raw samples."""

    deployment: str
    setting: Setting
    stages: Mapping[str, float]

    @property
    def total_ns(self) -> float:
        """The whole, as the sum of its stages."""
        return sum(max(0.0, ns) for ns in self.stages.values())


def anatomy(group: Group, *, numbers: bool = True) -> Html:
    """The bars, the same as a table, and the percentiles; without `numbers` the percentiles are left out."""
    requests = [
        Request(name, setting, typical([stages for stages in of_seeds if stages]))
        for name in group.deployments
        for setting in group.settings
        if name in setting.deployments
        for of_seeds in [[typical_request(member.run.traces, name) for member in setting.members]]
    ]
    known = [request for request in requests if request.stages]
    mean = ", the mean over the seeds" if len(group.seeds) > 1 else ""
    legend = [el("li", el("b", stage), f" {meaning}") for stage, meaning in STAGE_WORDS.items()]
    needed = ", ".join(f"p{q} needs {n}" for q, n in LEAST_SAMPLES.items() if n > 1)
    return section(
        "Where the time goes",
        note(
            f"Each bar is one typical request{mean}: the mean over the tenth of the requests around the median one, so "
            "that the stages add up. Blue is the device, yellow the network, red the server, grey what no stage "
            "claims. The runs were timed one after the other, so that a difference of two bars may be that of the "
            "machine's other work. What a defense takes is the stage protect, and the stage head where the defense "
            "changed the head."
        ),
        _drawn(group, known) if known else el("p", "No raw samples of these runs could be read.", class_="empty"),
        el("details", el("summary", "What each stage is"), el("ul", legend, class_="legend")),
        el("details", el("summary", "The figure as a table"), _as_table(known)) if known else None,
        [
            el("details", el("summary", "End-to-end times and sizes"), tables.percentiles(group))
            if group.is_sweep
            else tables.percentiles(group),
            tables.stage_percentiles(group),
            note(
                f"A percentile is printed only with enough samples behind it ({needed}); otherwise a dash, or no "
                "column."
            ),
        ]
        if numbers
        else None,
    )


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


def _drawn(group: Group, requests: Sequence[Request]) -> Html:
    longest = max(request.total_ns for request in requests) or 1.0
    slowest = max(requests, key=lambda request: request.total_ns)
    unclaimed = [r.stages.get("unattributed", 0.0) / r.total_ns for r in requests if r.total_ns]
    described = (
        f"{len(requests)} bars. The longest is {slowest.setting.label} over {slowest.deployment} with "
        f"{duration(slowest.total_ns)}. No stage claims {min(unclaimed):.0%} to {max(unclaimed):.0%} of a request. "
        "The table below has every number."
        if unclaimed
        else "The table below has every number."
    )
    name = Name(f"{group.anchor}-anatomy", f"{group.title} latency", "Where the time of a request goes", described)
    return figure(name, [_bars(requests, longest, width, screen) for screen, width in WIDTHS.items()])


def _bars(requests: Sequence[Request], longest: float, width: float, screen: str) -> tuple[float, float, Html, str]:
    """One drawing: a heading for each deployment, a label and a bar for each setting, and an axis."""
    parts, y, deployment = list[Html](), 6.0, ""
    for request in requests:
        if request.deployment != deployment:
            deployment = request.deployment
            parts.append(text(deployment, 0, y + 18, class_="title"))
            y += BAND
        measured = duration(request.total_ns)
        room = int((width - LETTER * len(measured) - 12) / LETTER)
        label = request.setting.label
        parts.append(text(label if len(label) <= room else f"{label[: room - 1]}…", 0, y + 12, class_="key"))
        parts.append(text(measured, width, y + 12, "end"))
        x = 0.0
        for stage in STAGES:
            length = max(0.0, request.stages.get(stage, 0.0)) / longest * width
            if length > 0.05:
                title = el("title", f"{stage}: {duration(request.stages[stage])}")
                parts.append(el("rect", title, x=f"{x:.1f}", y=f"{y + 18:.1f}", width=f"{length:.1f}",
                                height=f"{BAR:.0f}", class_=f"s-{stage}"))  # fmt: skip
            x += length
        y += ROW
    y += 2
    parts.append(line(0, y, width, y, "axis"))
    at = round_ticks(0, longest / 1e6, 6 if width > 500 else 4)
    digits = max(0, -math.floor(math.log10(at[1]) + 1e-9)) if len(at) > 1 else 0
    for tick in at:
        x = tick * 1e6 / longest * width
        parts.append(line(x, y, x, y + 5, "axis"))
        anchor = "start" if x < 8 else "end" if x > width - 8 else "middle"
        parts.append(text(f"{tick:.{digits}f}", x, y + 19, anchor))
    parts.append(text("Time of a typical request, ms", width / 2, y + 38, "middle", "title"))
    y, x = y + 60, 0.0
    for stage in STAGES:
        needed = 22 + LETTER * len(stage)
        if x + needed > width:
            x, y = 0.0, y + 18
        parts.append(el("rect", x=f"{x:.1f}", y=f"{y - 10:.1f}", width=11, height=11, class_=f"s-{stage}"))
        parts.append(text(stage, x + 16, y, class_="key"))
        x += needed
    return width, y + 8, el("g", parts), screen


def _as_table(requests: Sequence[Request]) -> Html:
    title = "Stages of a typical request"
    rows = [
        row(
            el("th", request.deployment, scope="row"),
            [el("td", dot(request.setting.color), request.setting.label), duration(request.total_ns)]
            + [duration(request.stages[stage]) if stage in request.stages else DASH for stage in STAGES],
        )
        for request in requests
    ]
    return table(title, ["Deployment", "Defense", "Whole", *STAGES], [el("tbody", rows)], "numbers")
