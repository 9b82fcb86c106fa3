"""What a profile says to do: the best cut for each network, and for each bandwidth."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor, inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cutlayer.profile.cost_model import ON_MACHINES, Line, envelope
from cutlayer.profile.points import Key, p50
from cutlayer.profile.recommend import LOCAL, Choice, Limits, as_good, best, pareto, why_none
from cutlayer.profile.run import Profile
from cutlayer.trace import percentile

Quality = Mapping[Key, Mapping[str, Any]]
"""By cut and codec: ``accuracy`` and ``leakage`` with their n and intervals, where they are known."""


def choices(profile: Profile, network: str, quality: Quality) -> list[Choice]:
    """Every way to deploy the model on a network: as measured there, and computed where it was not."""
    found = []
    typical_error = float(np.median(np.abs(profile.model_errors or [0.0])))
    for (cut, codec), stages in profile.predicted[network].items():
        known = quality.get((cut, codec), {})
        timed = profile.measured[network].get((cut, codec))
        n_bytes = float(np.median(_requests(profile, cut)[codec]["message_bytes"]))
        leaks, right = _value(known.get("leakage")), _value(known.get("accuracy"))
        if timed is None:
            latency = stages["end_to_end"]
            found.append(Choice(cut, codec, n_bytes, latency, typical_error * latency, "model", leaks, right))
        else:
            off = half_interval(timed["end_to_end_ns"])
            found.append(Choice(cut, codec, n_bytes, p50(timed), off, "measured", leaks, right))
    return found


def keeps(limits: Limits, known: Mapping[str, Any]) -> bool:
    """Whether what is known of a choice, as in `Quality`, keeps the limits on leakage and accuracy."""
    return not limits.broken_by(_value(known.get("leakage")), _value(known.get("accuracy")))


def half_interval(samples: ArrayLike) -> float:
    """Half of the 95 % interval of a median, by the ranks between which it lies; with few samples, all of them."""
    values = np.sort(np.asarray(samples, float))
    ranks = 0.98 * sqrt(len(values))
    low, high = max(0, floor(len(values) / 2 - ranks)), min(len(values) - 1, ceil(len(values) / 2 + ranks))
    return float(values[high] - values[low]) / 2


def local_choice(profile: Profile, quality: Quality) -> list[Choice]:
    """Not to cut at all, where that could be measured: nothing is sent, so nothing leaks on the way."""
    if profile.local is None:
        return []
    whole = next((known for known in quality.values() if "accuracy" in known), {})
    accuracy = _value(whole.get("whole_accuracy"))
    taken = profile.local["ns"]
    middle = percentile(np.asarray(taken), 50) or 0
    return [Choice(LOCAL, "", 0.0, float(middle), half_interval(taken), "measured", 0.0, accuracy)]


def recommendation(network: str, profile: Profile, limits: Limits, quality: Quality) -> dict[str, Any]:
    """The fastest cut within the limits, beside what the device takes alone, and the Pareto set."""
    cuts = choices(profile, network, quality)
    chosen = best(cuts, limits)
    alone = best(local_choice(profile, quality), limits)
    near = [] if chosen is None else as_good(chosen, cuts, limits)
    front = [{"cut": one.cut, "codec": one.codec} for one in pareto(cuts)]
    return {
        "network": network,
        "best": None if chosen is None else vars(chosen),
        "as_good": [{"cut": one.cut, "codec": one.codec, "latency_ns": one.latency_ns} for one in near],
        "why_none": why_none(cuts, limits) if chosen is None else None,
        "device_alone_ns": None if alone is None else alone.latency_ns,
        "pareto": front,
    }


def bandwidth(profile: Profile, limits: Limits, quality: Quality) -> dict[str, Any]:
    """Which cut and codec is the fastest at which rate up; the round trip is the same for all of them.

    Of those that keep the limits on leakage and accuracy; the rate decides about the latency.
    """
    lines = []
    for (cut, codec), stages in profile.predicted[profile.networks[0].name].items():
        if not keeps(limits, quality.get((cut, codec), {})):
            continue
        n_bytes = float(np.median(_requests(profile, cut)[codec]["message_bytes"]))
        # A real network's time for each byte is its rate, in place of which another one is put here.
        carried = profile.transport.fixed_ns if profile.real else profile.transport.ns(n_bytes)
        lines.append(Line(f"{cut} {codec}", sum(stages[stage] for stage in ON_MACHINES) + carried, n_bytes))
    reigns = envelope(lines) if lines else []
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
