"""Disturbed rounds are set aside for what the system counts, never for their latency."""

import dataclasses
import itertools

import pytest

from cutlayer.machine.contention import Moment
from cutlayer.machine.throttling import Reading
from cutlayer.profile.rounds import ENOUGH, ROUNDS, Round, Rounds, disturbances, in_rounds, joined, time_left
from cutlayer.profile.timing import Timing, together
from cutlayer.records.profile import QuotaRecord

SECOND = 10**9


def timing(ns=(1000,), cpu_share=1.0, waited=0.0, **changes):
    wall_ns = changes.pop("wall_ns", SECOND)
    counted = Timing(
        tuple(ns), wall_ns, round(cpu_share * wall_ns), round(waited * wall_ns), 0.0, 70, None, (), None, None, None
    )
    return dataclasses.replace(counted, **changes)


QUOTA = QuotaRecord(0.25, "cpu.max", 9, 3, 5)
HOT = Reading(80.0, "chip")


@pytest.mark.parametrize(
    ("own", "others", "words"),
    [
        (timing(), 0.1, ""),
        (timing(cpu_share=0.5), 0.0, "not alone: its process got 50% of a core"),
        (timing(waited=0.2), 0.0, "not alone: its process waited for a core 20% of the time"),
        (timing(others=0.5), 0.0, "not alone: other work took 50% of all cores"),
        (timing(others=0.5, wall_ns=SECOND // 100), 0.0, ""),
        (timing(), 0.5, "not alone: other work took 50% of all cores"),
        (None, 0.5, "not alone: other work took 50% of all cores"),
        (timing(held_back=("hot",)), 0.0, "throttled: hot"),
        (timing(cpu_share=0.25, waited=0.7, quota=QUOTA), 0.0, ""),
        (timing([10**9]), 0.0, ""),
    ],
)
def test_what_the_system_counts_decides_and_a_long_run_does_not(own, others, words):
    assert disturbances([Round("value", own, others)]) == [words]


def test_a_round_at_another_clock_than_most_is_disturbed():
    clocks = (3.0e9, 3.1e9, 2.9e9, 1.5e9, None)
    words = disturbances([Round("value", timing(own_clock_hz=hz), 0.0) for hz in clocks])
    assert [bool(text) for text in words] == [False, False, False, True, False]
    assert words[3] == "at another clock: 1.50 GHz where the middle is 2.95 GHz"


def rounds(pattern):
    """Rounds from a pattern such as ``..x.``, in which x was disturbed; each is worth its place."""
    taken = tuple(Round(place, None, 0.9 if mark == "x" else 0.0) for place, mark in enumerate(pattern))
    return Rounds(taken, tuple(disturbances(taken)), ROUNDS)


def test_what_counts_are_the_rounds_without_disturbance_or_all_where_too_few_are():
    assert ENOUGH * ROUNDS == 3
    assert rounds("..x.x").used == [0, 1, 3]
    assert rounds("..x.x").enough
    assert rounds("x.x.x").used == [0, 1, 2, 3, 4]
    assert not rounds("x.x.x").enough
    assert joined(rounds("xxxxx"), rounds("..x..")).used == [0, 1, 3, 4]


def taken_until_done(pattern, seconds, round_s):
    """How many rounds are taken where each takes this long, and is disturbed as the pattern says, over and over."""
    marks = itertools.cycle(pattern)

    def take():
        share = 0.5 if next(marks) == "x" else 1.0
        return None, timing(cpu_share=share, wall_ns=round(round_s * SECOND))

    return len(in_rounds(take, time_left(seconds)).taken)


@pytest.mark.parametrize(
    ("pattern", "seconds", "round_s", "n"),
    [
        (".", 5.0, 0.5, 5),
        ("x....", 5.0, 0.5, 7),
        ("x", 5.0, 0.5, 10),
        # A slow head gets at most twice the time of its first rounds.
        ("x", 5.0, 3.0, 10),
        ("..x", 5.0, 3.0, 7),
    ],
)
def test_disturbed_rounds_are_made_again_as_long_as_there_is_time(pattern, seconds, round_s, n, monkeypatch):
    clock = itertools.count(0, SECOND)
    monkeypatch.setattr("cutlayer.profile.rounds.family_moment", lambda: Moment(next(clock), 0, {}, 0))
    assert taken_until_done(pattern, seconds, round_s) == n


def test_the_timings_of_rounds_together():
    first = timing([1, 2], joules=2.0, quota=QUOTA, temperature_c=HOT, clock_hz=Reading(2e9, "clock"), others=0.1)
    second = timing([3], waited=0.5, held_back=("hot",), quota=QUOTA, joules=5.0, peak_rss_bytes=90, others=0.3)
    whole = together([first, second])
    assert whole.ns == (1, 2, 3)
    assert (whole.wall_ns, whole.waited_ns, whole.peak_rss_bytes) == (2 * SECOND, SECOND // 2, 70)
    assert (whole.joules, whole.held_back, whole.temperature_c) == (3.0, ("hot",), HOT)
    assert whole.quota == QuotaRecord(0.25, "cpu.max", 18, 6, 10)
    assert whole.others == pytest.approx(0.2)
    assert together([first, timing()]).joules is None
