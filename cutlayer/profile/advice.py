"""What a profile says to do: the best cut for each network, and for each bandwidth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, hypot, inf, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from cutlayer.profile.cost_model import ON_MACHINES, Line, envelope
from cutlayer.profile.emulated import Profile
from cutlayer.profile.sampling import Key, p50
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


LOCAL = "on the device alone"
"""Name of the choice not to cut at all."""


@dataclass(frozen=True)
class Choice:
    """One way to deploy the model on one network.

    Attributes:
        cut: Name, or `LOCAL`.
        codec: Name; empty where nothing is sent.
        n_bytes: Of the message up.
        latency_ns: End to end, p50.
        off_ns: That it may be off by: half of the 95 % interval of what was measured, or the model's typical error.
        source: Whether the latency was measured, or is the cost model's.
        leakage: Leakage gain of the strongest attack, up to 1; None where none was run.
        accuracy: 0 to 1; None where there was no data to tell.
    """

    cut: str
    codec: str
    n_bytes: float
    latency_ns: float
    off_ns: float
    source: Literal["measured", "model"]
    leakage: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class Limits:
    """What the user asks for; None asks for nothing.

    Attributes:
        latency_ns: At most.
        leakage: At most, as a leakage gain.
        accuracy: At least, 0 to 1.
    """

    latency_ns: float | None = None
    leakage: float | None = None
    accuracy: float | None = None

    def broken(self, choice: Choice) -> list[str]:
        """Names of the limits that a choice does not keep, or of which nothing is known of it."""
        late = self.latency_ns is not None and choice.latency_ns > self.latency_ns
        return [*(["latency"] if late else []), *self.broken_by(choice.leakage, choice.accuracy)]

    def broken_by(self, leakage: float | None, accuracy: float | None) -> list[str]:
        """The same of the limits that no network has a part in."""
        found = []
        if self.leakage is not None and (leakage is None or leakage > self.leakage):
            found.append("leakage")
        if self.accuracy is not None and (accuracy is None or accuracy < self.accuracy):
            found.append("accuracy")
        return found


def best(choices: Sequence[Choice], limits: Limits) -> Choice | None:
    """The fastest choice within the limits, of equally fast ones that which sends less; None when there is none.

    What was measured and what was computed are compared as they are: the model's figures are shifted to those measured.
    """
    kept = [choice for choice in choices if not limits.broken(choice)]
    return min(kept, key=lambda choice: (choice.latency_ns, choice.n_bytes), default=None)


def as_good(chosen: Choice, choices: Sequence[Choice], limits: Limits) -> list[Choice]:
    """Others within the limits that are not told apart from the chosen one: slower by no more than both may be off."""
    near = [
        one
        for one in choices
        if one != chosen
        and not limits.broken(one)
        and one.latency_ns - chosen.latency_ns <= hypot(one.off_ns, chosen.off_ns)
    ]
    return sorted(near, key=lambda choice: choice.latency_ns)


def why_none(choices: Sequence[Choice], limits: Limits) -> str:
    """One sentence on which limits stand in the way, when `best` found nothing."""
    broken = [set(limits.broken(choice)) for choice in choices]
    alone = sorted(set.intersection(*broken)) if broken else []
    if alone:
        return f"No cut keeps the limit on {' and '.join(alone)}; loosen it, or try other codecs."
    return f"No cut keeps the limits on {' and '.join(sorted(set.union(*broken)))} together; loosen one of them."


def pareto(choices: Sequence[Choice]) -> list[Choice]:
    """Choices that no other beats in latency, bytes, leakage and accuracy at once, in the order of latency.

    What is known of no choice is not compared. What is unknown of one counts as the worst.
    """

    def costs(choice: Choice) -> tuple[float, ...]:
        leakage = 2.0 if choice.leakage is None else choice.leakage
        accuracy = 0.0 if choice.accuracy is None else choice.accuracy
        return choice.latency_ns, choice.n_bytes, leakage, -accuracy

    def beaten(one: Choice) -> bool:
        mine = costs(one)
        return any(
            theirs != mine and all(a <= b for a, b in zip(theirs, mine, strict=True)) for theirs in map(costs, choices)
        )

    return sorted((choice for choice in choices if not beaten(choice)), key=lambda choice: choice.latency_ns)
