"""The tables of a profile's page: what each cut is and took, and every stage of its requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cutlayer.report.markup import Html, el
from cutlayer.report.wording import DASH, duration, size
from cutlayer.trace import STAGES

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
