"""What a profile recommends: the best cut and codec on each network, and at each bandwidth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, hypot, sqrt

import numpy as np
from numpy.typing import ArrayLike

from cutlayer.profile.cost_model import ON_MACHINES, envelope
from cutlayer.profile.sampling import Key, p50
from cutlayer.profile.taken import Measurements
from cutlayer.records.profile import Alternative, Bandwidth, Choice, CutAndCodec, Limits, Line, Quality, Recommendation
from cutlayer.records.run import Estimate


def recommend(
    measurements: Measurements, network: str, limits: Limits, quality: Mapping[Key, Quality]
) -> Recommendation:
    """The fastest choice within the limits, what is as good, what the device takes alone, and the Pareto set."""
    choices, alone = all_choices(measurements, network, quality), measurements.local
    chosen = best(choices, limits)
    near = [] if chosen is None else as_good(chosen, choices, limits)
    return Recommendation(
        network=network,
        best=chosen,
        as_good=tuple(Alternative(choice.cut, choice.codec, choice.latency_ns) for choice in near),
        why_none=why_none(choices, limits) if chosen is None else None,
        device_alone_ns=_device_alone_ns(measurements, limits, quality),
        pareto=tuple(CutAndCodec(choice.cut, choice.codec) for choice in pareto(choices)),
        device_alone_off_ns=0.0 if alone is None else half_interval(alone.ns),
    )


def bandwidth(measurements: Measurements, limits: Limits, quality: Mapping[Key, Quality]) -> Bandwidth:
    """Which choice is the fastest at which rate up, of those within the limits on leakage and accuracy.

    The rate is that of both directions; a real network's answers are in what was fitted to it. The round trip is the
    same for all. The limit on latency is left out: the rate decides about the latency.
    """
    lines = []
    for key, stages in measurements.predicted[measurements.networks[0].name].items():
        if not keeps(limits, quality.get(key, Quality())):
            continue
        n_bytes, answer_bytes = measurements.requests[key].n_bytes, measurements.requests[key].answer_bytes
        # The time for each byte of a real network is its rate, which another rate replaces here.
        transport = measurements.transport
        carried_ns = transport.fixed_ns if measurements.real else transport.ns(n_bytes)
        fixed_ns = sum(stages[stage] for stage in ON_MACHINES) + carried_ns
        lines.append(Line(" ".join(key), fixed_ns, n_bytes if measurements.real else n_bytes + answer_bytes))
    return Bandwidth(measurements.real, tuple(lines), tuple(envelope(lines)) if lines else ())


def all_choices(measurements: Measurements, network: str, quality: Mapping[Key, Quality]) -> list[Choice]:
    """Every way to deploy the model on a network: as measured there, or computed where it was not measured."""
    choices = []
    typical_error = float(np.median(np.abs(measurements.model_errors or [0.0])))
    for key, stages in measurements.predicted[network].items():
        known, requests = quality.get(key, Quality()), measurements.measured[network].get(key)
        latency_ns = stages["end_to_end"] if requests is None else p50(requests)
        choices.append(
            Choice(
                *key,
                n_bytes=measurements.requests[key].n_bytes,
                latency_ns=latency_ns,
                off_ns=typical_error * latency_ns if requests is None else half_interval(requests["end_to_end_ns"]),
                source="model" if requests is None else "measured",
                leakage=_value(known.leakage),
                accuracy=_value(known.accuracy),
            )
        )
    return choices


def half_interval(samples: ArrayLike) -> float:
    """Half of the 95 % interval of a median, from the ranks of its ends; with few samples, from the extremes."""
    values = np.sort(np.asarray(samples, float))
    ranks = 0.98 * sqrt(len(values))
    low, high = max(0, floor(len(values) / 2 - ranks)), min(len(values) - 1, ceil(len(values) / 2 + ranks))
    return float(values[high] - values[low]) / 2


def _device_alone_ns(measurements: Measurements, limits: Limits, quality: Mapping[Key, Quality]) -> float | None:
    """p50 of the whole model on the device, where it can run there within the limits: nothing is sent or leaks."""
    if measurements.local is None:
        return None
    latency_ns = p50({"end_to_end_ns": np.asarray(measurements.local.ns)})
    accuracy = next((known.whole_accuracy for known in quality.values() if known.whole_accuracy), None)
    return None if broken_limits(limits, 0.0, _value(accuracy), latency_ns) else latency_ns


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def broken_limits(limits: Limits, leakage: float | None, accuracy: float | None, latency_ns: float = 0.0) -> list[str]:
    """Names of the limits that a choice breaks. An unknown leakage or accuracy breaks the limit on it."""
    broken = {
        "latency": limits.latency_ns is not None and latency_ns > limits.latency_ns,
        "leakage": limits.leakage is not None and (leakage is None or leakage > limits.leakage),
        "accuracy": limits.accuracy is not None and (accuracy is None or accuracy < limits.accuracy),
    }
    return [name for name, is_broken in broken.items() if is_broken]


def keeps(limits: Limits, quality: Quality) -> bool:
    """Whether a choice of this quality keeps the limits on leakage and accuracy."""
    return not broken_limits(limits, _value(quality.leakage), _value(quality.accuracy))


def _broken(limits: Limits, choice: Choice) -> list[str]:
    return broken_limits(limits, choice.leakage, choice.accuracy, choice.latency_ns)


def best(choices: Sequence[Choice], limits: Limits) -> Choice | None:
    """The fastest choice within the limits, of equally fast ones that which sends less; None when there is none.

    Measured and computed latencies are compared as they are: the computed ones are shifted to the measured ones.
    """
    allowed = [choice for choice in choices if not _broken(limits, choice)]
    return min(allowed, key=lambda choice: (choice.latency_ns, choice.n_bytes), default=None)


def as_good(chosen: Choice, choices: Sequence[Choice], limits: Limits) -> list[Choice]:
    """Other choices within the limits that are slower by no more than both latencies may be off."""
    near = [
        choice
        for choice in choices
        if choice != chosen and choice.latency_ns - chosen.latency_ns <= hypot(choice.off_ns, chosen.off_ns)
    ]
    return sorted((c for c in near if not _broken(limits, c)), key=lambda choice: choice.latency_ns)


def why_none(choices: Sequence[Choice], limits: Limits) -> str:
    """One sentence on which limits no choice keeps, when `best` is None."""
    broken = [set(_broken(limits, choice)) for choice in choices]
    alone = sorted(set.intersection(*broken)) if broken else []
    if alone:
        return f"No cut keeps the limit on {' and '.join(alone)}; loosen it, or try other codecs."
    return f"No cut keeps the limits on {' and '.join(sorted(set.union(*broken)))} together; loosen one of them."


def pareto(choices: Sequence[Choice]) -> list[Choice]:
    """Choices that no other beats in latency, bytes, leakage and accuracy at once, in the order of latency.

    A leakage or accuracy that is not known counts as the worst, so that it decides nothing where no choice knows it.
    """

    def costs(choice: Choice) -> tuple[float, ...]:
        leakage = 2.0 if choice.leakage is None else choice.leakage
        accuracy = 0.0 if choice.accuracy is None else choice.accuracy
        return choice.latency_ns, choice.n_bytes, leakage, -accuracy

    def beats(other: tuple[float, ...], own: tuple[float, ...]) -> bool:
        return other != own and all(a <= b for a, b in zip(other, own, strict=True))

    front = [choice for choice in choices if not any(beats(costs(other), costs(choice)) for other in choices)]
    return sorted(front, key=lambda choice: choice.latency_ns)
