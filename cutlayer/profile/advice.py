"""What a profile says to do: the best cut for each network, and for each bandwidth."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np

from cutlayer.profile.cost_model import ON_MACHINES, Line, envelope
from cutlayer.profile.recommend import LOCAL, Choice, Limits, best, pareto, why_none
from cutlayer.profile.run import Key, Profile

Quality = Mapping[Key, Mapping[str, Any]]
"""By cut and codec: ``accuracy`` and ``leakage`` with their n and intervals, where they are known."""


def choices(profile: Profile, network: str, quality: Quality) -> list[Choice]:
    """Every way to deploy the model on a network, measured where it was."""
    found = []
    for (cut, codec), stages in profile.predicted[network].items():
        known = quality.get((cut, codec), {})
        timed = profile.measured[network].get((cut, codec))
        latency = stages["end_to_end"] if timed is None else float(np.median(timed["end_to_end_ns"]))
        n_bytes = float(np.median(_requests(profile, cut)[codec]["message_bytes"]))
        found.append(
            Choice(
                cut, codec, n_bytes, latency, stages["end_to_end"], "model" if timed is None else "measured",
                _value(known.get("leakage")), _value(known.get("accuracy")),
            )
        )  # fmt: skip
    return found


def local_choice(profile: Profile, quality: Quality) -> list[Choice]:
    """Not to cut at all, where that could be measured: nothing is sent, so nothing leaks on the way."""
    if profile.local is None:
        return []
    whole = next((known for known in quality.values() if "accuracy" in known), {})
    accuracy = _value(whole.get("whole_accuracy"))
    taken = float(np.median(profile.local["ns"]))
    return [Choice(LOCAL, "", 0.0, taken, taken, "measured", 0.0, accuracy)]


def recommendation(network: str, profile: Profile, limits: Limits, quality: Quality) -> dict[str, Any]:
    """The fastest cut within the limits, beside what the device takes alone, and the Pareto set."""
    cuts = choices(profile, network, quality)
    chosen = best(cuts, limits)
    alone = best(local_choice(profile, quality), limits)
    front = [{"cut": one.cut, "codec": one.codec} for one in pareto(cuts)]
    return {
        "network": network,
        "best": None if chosen is None else vars(chosen),
        "why_none": why_none(cuts, limits) if chosen is None else None,
        "device_alone_ns": None if alone is None else alone.latency_ns,
        "pareto": front,
    }


def bandwidth(profile: Profile) -> dict[str, Any]:
    """Which cut and codec is the fastest at which rate up; the round trip is the same for all of them."""
    lines = []
    for (cut, codec), stages in profile.predicted[profile.networks[0].name].items():
        n_bytes = float(np.median(_requests(profile, cut)[codec]["message_bytes"]))
        # A real network's time for each byte is its rate, in place of which another one is put here.
        carried = profile.transport.fixed_ns if profile.real else profile.transport.ns(n_bytes)
        lines.append(Line(f"{cut} {codec}", sum(stages[stage] for stage in ON_MACHINES) + carried, n_bytes))
    reigns = envelope(lines)
    return {
        "round_trip_included": profile.real,
        "lines": [line._asdict() for line in lines],
        "best": [
            {"choice": r.name, "from_bps": r.from_bps, "to_bps": None if r.to_bps == inf else r.to_bps} for r in reigns
        ],
    }


def _requests(profile: Profile, cut: str) -> Mapping[str, Any]:
    return next(one.requests for one in profile.observed if one.candidate.cut == cut)


def _value(known: Mapping[str, Any] | None) -> float | None:
    return None if known is None else float(known["value"])
