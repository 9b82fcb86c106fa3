"""A profile as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cutlayer.report.kit.columns import columns
from cutlayer.report.kit.wording import ms, rate
from cutlayer.report.profiles import advice as words


def text(data: Mapping[str, Any]) -> str:
    """The record of a profile, as tables: cuts, networks, and what to do."""
    parts = [_heading(data), _cuts(data)]
    parts += [_network(data, name) for name in data["networks"]]
    parts += [_advice(data), _verdict(data)]
    return "\n\n".join(parts)


def _heading(data: Mapping[str, Any]) -> str:
    machine, settings = data["machine"], data["settings"]
    return (
        f"{data['model']} on {machine['processor']} ({machine['machine']}), {cpu(data)}, "
        f"head in {settings['head']}, server: {settings['server']}\n{data['images']}"
    )


def cpu(data: Mapping[str, Any]) -> str:
    """Threads of the head, the cores that they may run on, and their share of time."""
    settings, pinned = data["settings"], data["settings"]["cores"] or data["machine"]["affinity"]
    threads = "1 thread" if settings["threads"] == 1 else f"{settings['threads']} threads"
    words = threads if pinned is None else f"{threads} on core{'s'[: len(pinned) > 1]} {','.join(map(str, pinned))}"
    return words if settings["cpu_quota"] is None else f"{words}, a quota of {settings['cpu_quota']:g} cores"


def _cuts(data: Mapping[str, Any]) -> str:
    codecs = list(data["cuts"][0]["codecs"])
    names = ["cut", "smashed", "head p50", "p95", "p99", "n", "cold", "RSS MB", "MMACs", "kparams", "J"]
    names += [*(f"{c} B" for c in codecs), *_quality_heads(data)]
    rows = []
    for cut in data["cuts"]:
        head, cold = cut["head_ns"], cut["cold_ns"]
        joules = cut["energy"]["joules"]
        rows.append(
            [
                cut["cut"], "x".join(map(str, cut["shape"])), ms(head["p50"]), ms(head["p95"]), ms(head["p99"]),
                str(head["n"]), ms(cold["open_ns"] + cold["first_ns"]), f"{cut['peak_rss_bytes'] / 1e6:.0f}",
                _scaled(cut["macs"], 1e6), _scaled(cut["params"], 1e3), "-" if joules is None else f"{joules:.3f}",
                *(f"{cut['codecs'][c]['bytes']:,}" for c in codecs), *_quality(data, cut),
            ]
        )  # fmt: skip
    times = "times in ms; cold = opening the head and its first inference; J = per inference"
    source = next((c["energy"]["source"] for c in data["cuts"] if c["energy"]["source"]), None)
    energy = f", by {source}" if source else ": no meter that can be read here"
    return "\n".join([columns(names, rows), times + energy, *_held_back(data)])


def _held_back(data: Mapping[str, Any]) -> list[str]:
    """What slowed the device down, on purpose and otherwise, as far as the system tells."""
    lines = []
    quotas = [cut["quota"] for cut in data["cuts"] if cut["quota"]]
    if quotas:
        stopped, periods = (sum(quota[name] for quota in quotas) for name in ("throttled_periods", "periods"))
        lines.append(
            f"CPU quota of {quotas[0]['cpus']:g} cores ({quotas[0]['source']}): "
            f"the heads were stopped in {stopped:,} of {periods:,} periods"
        )
    hottest = max((cut["temperature_c"] for cut in data["cuts"] if cut["temperature_c"]), key=_value, default=None)
    if hottest:
        lines.append(f"hottest: {hottest['value']:.0f} degrees C ({hottest['source']})")
    return lines


def _value(reading: Mapping[str, Any]) -> float:
    return float(reading["value"])


def _quality_heads(data: Mapping[str, Any]) -> list[str]:
    known = data["cuts"][0]["codecs"].values()
    return [name for name in ("accuracy", "leakage") if any(name in codec for codec in known)]


def _quality(data: Mapping[str, Any], cut: Mapping[str, Any]) -> list[str]:
    """Of the codec that was named first; the record has the others."""
    first = next(iter(cut["codecs"].values()))
    return [f"{first[name]['value']:.3f}" if name in first else "-" for name in _quality_heads(data)]


def _network(data: Mapping[str, Any], name: str) -> str:
    codecs = list(data["cuts"][0]["codecs"])
    names, rows = ["cut", *codecs, "head", "enc", "network", "queue", "tail", "rest"], []
    for cut in data["cuts"]:
        by_codec = cut["networks"][name]
        fastest = min(by_codec.values(), key=lambda told: told["end_to_end_ns"]["p50"])
        stages = fastest["stages_ns"]
        rest = sum(stages[s] for s in ("decode", "reply", "unattributed"))
        rows.append(
            [
                cut["cut"],
                *(ms(by_codec[c]["end_to_end_ns"]["p50"]) + _mark(by_codec[c]) for c in codecs),
                *(ms(ns) for ns in (stages["head"], stages["protect"] + stages["encode"], stages["network"])),
                *(ms(ns) for ns in (stages["queue"], stages["tail"], rest)),
            ]
        )
    figures = data["networks"][name]["figures"]
    title = f"{name} ({figures}): end-to-end p50 in ms, * measured; the stages are those of the fastest codec"
    return title + "\n" + columns(names, rows)


def _mark(told: Mapping[str, Any]) -> str:
    return "*" if told["source"] == "measured" else " "


def _advice(data: Mapping[str, Any]) -> str:
    lines = [f"Best cut. {words.basis(data)}"]
    for told in data["recommendations"]:
        lines.append(f"  {told['network']}: {words.best(data, told, lambda ns: ms(ns) + ' ms')}")
    if not data["bandwidth"]["best"]:
        return "\n".join(lines)
    lines.append("Best cut by bandwidth, the round trip being the same for all:")
    for reign in data["bandwidth"]["best"]:
        low, high = reign["from_bps"], reign["to_bps"]
        span = (
            f"from {rate(low)}"
            if high is None
            else f"below {rate(high)}"
            if not low
            else f"{rate(low)} to {rate(high)}"
        )
        lines.append(f"  {span}: {reign['choice']}" if low or high is not None else f"  always: {reign['choice']}")
    return "\n".join(lines)


def _verdict(data: Mapping[str, Any]) -> str:
    model = data["cost_model"]
    lines = []
    if model["points"]:
        through = data["settings"]["network_emulation"] or "the network that there is"
        lines.append(
            f"Cost model: off by {model['median_error']:.1%} in the middle and {model['greatest_error']:.1%} at most, "
            f"at {len(model['points'])} points measured ({through})."
        )
    elif any("model" in (t["source"] for t in n.values()) for c in data["cuts"] for n in c["networks"].values()):
        lines.append("Cost model: not checked, for every point would have taken too long to measure.")
    lines += [f"Note: {note}" for note in data["notes"]]
    lines.append(data["verdict"] + ("" if not data["reasons"] else ":"))
    lines += [f"  {reason}" for reason in data["reasons"]]
    return "\n".join(lines)


def _scaled(value: int | None, by: float) -> str:
    return "-" if value is None else f"{value / by:,.1f}"
