import itertools
from contextlib import suppress

import pytest

from cutlayer import progress
from cutlayer.progress import note, rehearsed, told, track


class Clock:
    """Time that passes only where a test lets it."""

    def __init__(self):
        self.now_s = 0.0

    def perf_counter(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_alone_a_loop_is_only_a_loop():
    assert list(track(range(3), "counting")) == [0, 1, 2]


def test_a_long_loop_says_its_share_and_the_time_left(clock):
    lines = []
    with told(lines.append):
        for _ in track(range(100), "training"):
            clock.now_s += 0.25
            note("loss 0.5")
    assert lines == ["training: 20%, loss 0.5, about 20 s left", "training: 60%, loss 0.5, about 10 s left",
                     "training: done in 25 s, loss 0.5"]  # fmt: skip


def test_a_short_loop_says_nothing(clock):
    lines = []
    with told(lines.append):
        for _ in track(range(4), "training"):
            clock.now_s += 1
    assert lines == []


def test_inner_loops_count_as_shares_of_a_step(clock):
    lines = []
    with told(lines.append):
        for _ in track(range(2), "training"):
            for _ in track(range(10)):
                clock.now_s += 1
    assert lines[0] == "training: 25%, about 15 s left"


def test_a_loop_that_was_left_by_an_error_does_not_count(clock):
    lines = []
    with told(lines.append):
        with suppress(ValueError):
            for _ in track(range(10), "first"):
                raise ValueError
        for _ in track(range(10), "second"):
            clock.now_s += 1
    assert lines[0] == "second: 50%, about 5 s left"


@pytest.mark.parametrize("step_s", [0.3, 4.0])
def test_a_rehearsal_estimates_what_it_leaves_out(clock, step_s):
    done = []
    with rehearsed(most_s=1) as rehearsal:
        begin = rehearsal.now_s()
        for epoch in track(range(5), "training"):
            for step in track(range(40)):
                clock.now_s += step_s
                done.append((epoch, step))
        took_s = rehearsal.now_s() - begin
    assert took_s == pytest.approx(5 * 40 * step_s)
    assert clock.now_s < took_s / 3
    assert done[:2] == [(0, 0), (0, 1)]


def test_the_first_step_of_a_rehearsal_stands_for_itself_alone(clock):
    with rehearsed(most_s=1) as rehearsal:
        begin = rehearsal.now_s()
        for step in track(range(100)):
            clock.now_s += 2 if step == 0 else 0.5
        took_s = rehearsal.now_s() - begin
    assert took_s == pytest.approx(2 + 99 * 0.5)


@pytest.mark.parametrize(("seconds", "said"), [(8.2, "8 s"), (240, "4 min"), (9000, "2.5 h")])
def test_durations_are_said_in_words(seconds, said):
    assert progress.words(seconds) == said


def test_only_the_thread_that_asked_is_told(clock):
    import threading

    lines = []

    def work():
        for _ in itertools.islice(track(range(3), "elsewhere"), 3):
            clock.now_s += 10

    with told(lines.append):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert lines == []
