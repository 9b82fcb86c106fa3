"""What a profile recommends, in sentences: the same ones for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

NAMED = 3
"""Choices as good as the best that are named; of the others only their number is said."""

Time = Callable[[float], str]
"""How a number of ns reads."""


def basis(data: Mapping[str, Any]) -> str:
    """Which figures the recommendations rest on."""
    words = "The best is the smallest figure, measured or computed; what is computed is the cost model's, "
    if data["settings"]["network_emulation"] is None:
        return words + "which is fitted to what was measured."
    return words + "moved by the median difference to what was measured over the same network."


def best(data: Mapping[str, Any], told: Mapping[str, Any], time: Time) -> str:
    """The best choice on a network, where its time goes, what is as good, and what the device takes alone."""
    chosen, alone = told["best"], told["device_alone_ns"]
    if chosen is None:
        kept = "" if alone is None else f" The device alone keeps it, and takes {time(alone)}."
        return f"{told['why_none']}{kept}"
    cut = next(one for one in data["cuts"] if one["cut"] == chosen["cut"])
    shown = cut["networks"][told["network"]][chosen["codec"]]
    source = "computed" if shown["source"] == "model" else f"measured, n = {shown['end_to_end_ns']['n']}"
    stages = shown["stages_ns"]
    parts = {name: stages[name] for name in ("head", "network", "tail")}
    parts["the rest"] = sum(stages.values()) - sum(parts.values())
    words = [f"{chosen['cut']} with {chosen['codec']}, {time(chosen['latency_ns'])} ({source})"]
    words[0] += ": " + ", ".join(f"{name} {time(ns)}" for name, ns in parts.items())
    if near := [f"{one['cut']} with {one['codec']}" for one in told["as_good"]]:
        more = f" and {len(near) - NAMED} more" if len(near) > NAMED else ""
        words.append(f"not told apart from {', '.join(near[:NAMED])}{more}")
    if alone is not None:
        faster = "faster" if alone < chosen["latency_ns"] else "slower"
        words.append(f"the device alone is {faster}, {time(alone)}")
    return "; ".join(words)
