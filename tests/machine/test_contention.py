import os
import subprocess
import sys

import pytest

from cutlayer.machine.contention import Moment, between, family_moment, moment


def test_the_share_of_others_is_the_busy_time_without_ours():
    contention = between(
        Moment(0, 0, {"1": 50, "2": 7}, 0), Moment(1000, 600, {"1": 60, "2": 207, "3": 9999}, 600 + 100)
    )
    assert (contention.wall_ns, contention.cpu_ns) == (1000, 600)
    # A thread that began in between waited before it did, for all we know.
    assert contention.waited_ns == 200
    assert contention.others == pytest.approx(100 / 1000 / os.cpu_count())


def test_counters_of_a_coarse_clock_take_nothing_back():
    assert between(Moment(0, 0, {}, 0), Moment(1000, 600, {}, 500)) == (1000, 600, 0, 0.0)


def test_this_process_is_counted():
    before = moment()
    sum(range(2_000_000))
    contention = between(before, moment())
    assert 0 < contention.cpu_ns <= contention.wall_ns + contention.cpu_ns
    assert contention.waited_ns >= 0


def test_a_process_that_this_one_started_belongs_to_the_family():
    code = "import time; input()\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        before, alone = family_moment(), moment()
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"done\n"
        together, own = between(before, family_moment()), between(alone, moment())
        child.communicate(b"\n")
    assert together.cpu_ns - own.cpu_ns > 0.2e9
    assert together.waited_ns == 0
    assert together.others < own.others
