import os

import pytest

from cutlayer.machine.contention import Moment, between, moment


def test_what_others_took_is_what_was_busy_beside_us():
    found = between(Moment(0, 0, {"1": 50, "2": 7}, 0), Moment(1000, 600, {"1": 60, "2": 207, "3": 9999}, 600 + 100))
    assert (found.wall_ns, found.cpu_ns) == (1000, 600)
    # A thread that began in between waited before it did, for all we know.
    assert found.waited_ns == 200
    assert found.others == pytest.approx(100 / 1000 / os.cpu_count())


def test_counters_of_a_coarse_clock_take_nothing_back():
    assert between(Moment(0, 0, {}, 0), Moment(1000, 600, {}, 500)) == (1000, 600, 0, 0.0)


def test_this_process_is_counted():
    before = moment()
    sum(range(2_000_000))
    found = between(before, moment())
    assert 0 < found.cpu_ns <= found.wall_ns + found.cpu_ns
    assert found.waited_ns >= 0
