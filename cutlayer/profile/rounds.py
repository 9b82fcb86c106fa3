"""Measurements in rounds: those that something else disturbed are set aside, and others are made in their place.

What decides about a round is never a latency that was measured in it, because to drop slow rounds for being slow would
make every figure too good. It is what the system counts: the CPU time of other processes and of other virtual machines,
the time that the device waited for a core, throttling, and the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from cutlayer.machine.contention import between, family_moment
from cutlayer.profile.timing import Timing

T = TypeVar("T")

ROUNDS, ENOUGH = 5, 0.6
"""Number of rounds without disturbance that are wanted, and the part of them that a valid figure needs."""

OWN_CORE = 0.90
"""Least CPU time of a head for each second that passes."""

OTHERS = 0.25
"""Greatest share of all cores that other processes may take, for cores share caches and memory."""

CLOCK = 0.10
"""Greatest distance of a round's clock from that of the middle round, as a part of it."""

LONG_NS = 200_000_000
"""Time from which on the system's counters, which go in steps of 10 ms, tell what others took meanwhile."""


@dataclass(frozen=True)
class Round(Generic[T]):
    """One round.

    Attributes:
        value: What was measured.
        timing: Timing of the device's own computation in it; None where there is none.
        others: Share of all cores that was taken by processes which are no part of the profile; 0 in a round that is
            too short to tell.
    """

    value: T
    timing: Timing | None
    others: float


@dataclass(frozen=True)
class Rounds(Generic[T]):
    """All rounds of one measurement, and for each what disturbed it, in words, or nothing.

    Attributes:
        wanted: Number of rounds without disturbance that were wanted.
    """

    taken: tuple[Round[T], ...]
    disturbances: tuple[str, ...]
    wanted: int

    @property
    def set_aside(self) -> list[str]:
        """What disturbed the rounds that were disturbed."""
        return [words for words in self.disturbances if words]

    @property
    def enough(self) -> bool:
        """Whether enough rounds were not disturbed."""
        return len(self.taken) - len(self.set_aside) >= ENOUGH * self.wanted

    @property
    def used(self) -> list[T]:
        """The rounds that count: those without disturbance, or all where there are not enough of them."""
        rounds = zip(self.taken, self.disturbances, strict=True)
        return [taken.value for taken, words in rounds if not (words and self.enough)]


def joined(first: Rounds[T], second: Rounds[T]) -> Rounds[T]:
    """The rounds of two visits to the same thing."""
    taken = (*first.taken, *second.taken)
    return Rounds(taken, tuple(disturbances(taken)), first.wanted)


def in_rounds(
    take: Callable[[], tuple[T, Timing | None]], more: Callable[[Rounds[T]], bool], wanted: int = ROUNDS
) -> Rounds[T]:
    """Take as many rounds as wanted, and then others for those that were disturbed.

    Args:
        take: Measures one round, and gives the timing of the device's own computation in it.
        more: Whether there is time for one more round than those taken.
        wanted: Number of rounds without disturbance.
    """
    taken: list[Round[T]] = []
    while True:
        before = family_moment()
        value, timing = take()
        meanwhile = between(before, family_moment())
        taken.append(Round(value, timing, meanwhile.others if meanwhile.wall_ns >= LONG_NS else 0.0))
        rounds = Rounds(tuple(taken), tuple(disturbances(taken)), wanted)
        undisturbed = len(taken) - len(rounds.set_aside)
        if len(taken) >= wanted and (undisturbed >= wanted or not more(rounds)):
            return rounds


def time_left(seconds: float) -> Callable[[Rounds[T]], bool]:
    """Whether the device's own computation took less than this time, or less than twice that of the first rounds."""

    def left(rounds: Rounds[T]) -> bool:
        spent_ns = [taken.timing.wall_ns for taken in rounds.taken if taken.timing]
        return sum(spent_ns) < max(1e9 * seconds, 2 * sum(spent_ns[: rounds.wanted]))

    return left


def disturbances(rounds: Sequence[Round[T]]) -> list[str]:
    """What disturbed each round, in words; empty where nothing did."""
    clocks = [r.timing.own_clock_hz for r in rounds if r.timing and r.timing.own_clock_hz]
    middle_hz = float(np.median(clocks)) if clocks else None
    return [_disturbance(r, middle_hz) for r in rounds]


def _disturbance(taken: Round[T], middle_hz: float | None) -> str:
    own = taken.timing
    if own is not None:
        if own.held_back:
            return f"throttled: {' and '.join(own.held_back)}"
        waited = own.waited_ns / own.wall_ns
        # A quota is the user's wish, and stops the head on purpose.
        if own.quota is None and own.cpu_share < OWN_CORE:
            return f"not alone: its process got {own.cpu_share:.0%} of a core"
        if own.quota is None and waited > 1 - OWN_CORE:
            return f"not alone: its process waited for a core {waited:.0%} of the time"
        if own.others > OTHERS and own.wall_ns >= LONG_NS:
            return f"not alone: other work took {own.others:.0%} of all cores"
        if middle_hz and own.own_clock_hz and abs(own.own_clock_hz / middle_hz - 1) > CLOCK:
            return f"at another clock: {own.own_clock_hz / 1e9:.2f} GHz where the middle is {middle_hz / 1e9:.2f} GHz"
    return f"not alone: other work took {taken.others:.0%} of all cores" if taken.others > OTHERS else ""
