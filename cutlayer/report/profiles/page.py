"""A profile as one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cutlayer.records.files import write_text
from cutlayer.report.kit import markup
from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.svg import stage_bar
from cutlayer.report.kit.wording import DASH, duration, rate, size
from cutlayer.report.profiles import advice as words
from cutlayer.report.profiles.charts import bandwidth_curve, pareto_plots
from cutlayer.report.profiles.terminal import cpu
from cutlayer.trace import STAGES

HTML = "profile.html"

_STYLE = """
.scatter .curve { fill: none; stroke: var(--accent); stroke-width: 2.5; }
.scatter .faint { fill: none; stroke: var(--soft); opacity: 0.35; }
.scatter .faint circle { fill: var(--soft); }
td.number { text-align: right; }
"""


def save(folder: Path, data: Mapping[str, Any]) -> None:
    """Write `profile.html`, by an atomic rename."""
    write_text(folder / HTML, page(data))


def page(data: Mapping[str, Any]) -> str:
    """The whole page, from the record alone."""
    networks = [_network(data, name) for name in data["networks"]]
    main = el("main", _opening(data), _bandwidth(data), networks, cuts(data), stages(data), _how(data))
    return markup.page(f"cutlayer: where to cut {data['model']}", main, _STYLE)


def _opening(data: Mapping[str, Any]) -> Html:
    machine = data["machine"]
    lead = f"On {machine['processor']}, the head with {cpu(data)}. {data['images']}."
    reasons = el("ul", el("li", [el("p", reason) for reason in data["reasons"]]), class_="flags")
    return el(
        "header",
        el("p", "cutlayer profile", class_="product"),
        el("h1", f"Where to cut {data['model']}"),
        el("p", lead, class_="lead"),
        el(
            "ul",
            [
                el("li", el("b", told["network"]), f": {words.best(data, told, duration)}")
                for told in data["recommendations"]
            ],
        ),
        el("p", words.basis(data), class_="note"),
        el("p", el("b", data["verdict"]), None if data["reasons"] else ": nothing speaks against these figures."),
        reasons if data["reasons"] else None,
        [el("p", note, class_="note") for note in data["notes"]],
    )


def _bandwidth(data: Mapping[str, Any]) -> Html:
    rows = []
    for number, reign in enumerate(data["bandwidth"]["best"], 1):
        low, high = (DASH if not bps else rate(bps) for bps in (reign["from_bps"], reign["to_bps"]))
        rows.append(el("tr", el("th", f"{number} {reign['choice']}", scope="row"), el("td", low), el("td", high)))
    how = "Computed: stages as measured, and each byte at the given rate. The round trip of "
    how += "the network to the server is in it" if data["bandwidth"]["round_trip_included"] else "a network is on top"
    return el(
        "section",
        el("h2", "The best cut against bandwidth"),
        el("p", f"{how}; it is the same for all cuts, and the device alone does not pay it."),
        bandwidth_curve(data),
        el("div", el("table", el("thead", heads(["Best", "from", "up to"])), el("tbody", rows)),
           class_="wide"),
    )  # fmt: skip


def _network(data: Mapping[str, Any], name: str) -> Html:
    about = data["networks"][name]
    fastest = []
    for cut in data["cuts"]:
        by_codec = cut["networks"][name]
        codec = min(by_codec, key=lambda codec: by_codec[codec]["end_to_end_ns"]["p50"])
        fastest.append((cut["cut"], codec, by_codec[codec]))
    longest = max(sum(told["stages_ns"].values()) for _, _, told in fastest)
    bars = [
        el(
            "div",
            el("div", el("span", f"{cut} with {codec}"),
               el("span", f"{duration(told['end_to_end_ns']['p50'])}, {_source(told)}"), class_="bar-title"),
            stage_bar(told["stages_ns"], longest, cut),
        )
        for cut, codec, told in fastest
    ]  # fmt: skip
    legend = [el("li", el("span", class_=f"swatch s-{stage}"), stage) for stage in STAGES]
    return el(
        "section",
        el("h2", f"Over {name}"),
        el("p", f"{about['figures']} (rate, delay, jitter, loss); {about['source']}.", class_="note"),
        el("p", "Each cut with its fastest codec; the median of each stage."),
        el("div", bars, class_="bars"),
        el("ul", legend, class_="legend"),
        pareto_plots(data, name),
    )


def _source(told: Mapping[str, Any]) -> str:
    return f"measured, n = {told['end_to_end_ns']['n']}" if told["source"] == "measured" else "computed"


def _how(data: Mapping[str, Any]) -> Html:
    model = data["cost_model"]
    off = "not checked: every point would have taken too long to measure"
    if model["points"]:
        off = f"off by {model['median_error']:.1%} in the middle and {model['greatest_error']:.1%} at most, at "
        off += f"{len(model['points'])} points that were measured"
    pinned = {"pinned_to": data["settings"]["cores"]}
    facts = {"Cost model": off} | {**data["settings"], **data["machine"], **pinned}
    items = [
        el("div", el("dt", str(name).replace("_", " ")), el("dd", DASH if value is None else str(value)))
        for name, value in facts.items()
    ]
    return el("section", el("h2", "How it was measured"), el("dl", items, class_="columns"))


PERCENTILES = ("p50", "p95", "p99")


def cuts(data: Mapping[str, Any]) -> Html:
    """The heads alone, what they send, and what that is worth and gives away."""
    codecs = list(data["cuts"][0]["codecs"])
    known = [n for n in ("accuracy", "leakage") if any(n in c["codecs"][k] for c in data["cuts"] for k in codecs)]
    warm = any(cut["temperature_c"] for cut in data["cuts"])
    names = ["Cut", "Smashed", "Head p50", "p95", "p99", "n", "Start", "Open", "First", "Peak RSS", "MACs", "Params"]
    names += ["Energy", *(["Temperature"] if warm else []), *codecs]
    names += [f"{name}, {codec}" for name in known for codec in codecs]
    rows = []
    for cut in data["cuts"]:
        head, cold = cut["head_ns"], cut["cold_ns"]
        values = ["x".join(map(str, cut["shape"])), *(duration(head[p]) for p in PERCENTILES), head["n"]]
        values += [duration(cold[f"{part}_ns"]) for part in ("start", "open", "first")]
        values.append(size(cut["peak_rss_bytes"]))
        values += [DASH if cut[name] is None else f"{cut[name]:,}" for name in ("macs", "params")]
        values.append(_energy(cut["energy"]))
        if warm:
            values.append(DASH if not cut["temperature_c"] else f"{cut['temperature_c']['value']:.0f} °C")
        values += [size(cut["codecs"][codec]["bytes"]) for codec in codecs]
        values += [_value(cut["codecs"][codec].get(name)) for name in known for codec in codecs]
        rows.append(_row(cut["cut"], values))
    words = "A percentile is given where enough runs stand behind it. Start is a fresh process until it can work; "
    words += "first is its very first inference; energy is of one inference, with all that runs on the machine."
    return el("section", el("h2", "The cuts"), el("p", words), _wide(names, rows))


def stages(data: Mapping[str, Any]) -> Html:
    """p50, p95 and p99 of every stage, a table for each codec."""
    parts = []
    for codec in data["cuts"][0]["codecs"]:
        rows = []
        for cut in data["cuts"]:
            told = cut["codecs"][codec]
            timed = [told["stages_ns"][stage] for stage in STAGES] + [told["end_to_end_ns"]]
            rows.append(_row(cut["cut"], [_percentiles(one) for one in timed] + [told["end_to_end_ns"]["n"]]))
        table = _wide(["Cut", *STAGES, "end to end", "n"], rows)
        parts.append(el("details", el("summary", f"With {codec}"), table))
    real = len(data["cuts"]) == 1 and data["settings"]["network_emulation"] is None
    words = f"Of whole requests to {data['settings']['server'] if real else 'a server process on this machine'}, "
    words += "without any emulated network: p50, and below it p95 and p99."
    return el("section", el("h2", "The stages"), el("p", words), parts)


def heads(names: Sequence[str]) -> Html:
    """The row of a table that says what its columns are."""
    return el("tr", [el("th", name, scope="col") for name in names])


def _row(name: str, values: Sequence[object]) -> Html:
    return el("tr", el("th", name, scope="row"), [el("td", value, class_="number") for value in values])


def _wide(names: Sequence[str], rows: Sequence[Html]) -> Html:
    return el("div", el("table", el("thead", heads(names)), el("tbody", rows)), class_="wide")


def _percentiles(timed: Mapping[str, Any]) -> list[object]:
    return [duration(timed["p50"]), el("small", duration(timed["p95"])), el("small", duration(timed["p99"]))]


def _energy(energy: Mapping[str, Any]) -> str:
    return DASH if energy["joules"] is None else f"{energy['joules']:.3f} J ({energy['source']})"


def _value(known: Mapping[str, Any] | None) -> str:
    return DASH if known is None else f"{known['value']:.3f}"
