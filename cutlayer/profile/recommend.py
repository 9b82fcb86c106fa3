"""Which cut to take on a network, within what the user asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from typing import Literal

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
