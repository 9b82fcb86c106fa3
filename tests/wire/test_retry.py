import itertools

import pytest

from cutlayer.errors import ConnectionLost, DeadlineExceeded, DecodeError, Refused, Unreachable
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.retry import Retry, retried

ANSWER = Message(Kind.INFER, b"answer")
EXACT = Retry(attempts=4, first_s=1.0, most_s=3.0, jitter=0.0)
LOST = ConnectionLost("lost")


class Time:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now, self.slept = 0.0, []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def ask(errors, retry=EXACT, timeout_s=100.0, takes_s=0.0):
    """How long was slept between attempts, and the seconds that each attempt was given."""
    time, given, errors = Time(), [], iter(errors)

    def attempt(left_s):
        given.append(left_s)
        time.now += takes_s
        for error in errors:
            raise error
        return ANSWER

    assert retried(attempt, retry, timeout_s, time.clock, time.sleep) == ANSWER
    return time.slept, given


def test_pauses_double_up_to_the_most():
    assert ask([LOST] * 3) == ([1.0, 2.0, 3.0], [100.0, 99.0, 97.0, 94.0])


def test_the_pause_includes_the_time_that_the_server_names():
    busy = Refused("RESOURCE_EXHAUSTED", "busy", retry_after_ms=7000)
    assert ask([busy]) == ([8.0], [100.0, 92.0])


@pytest.mark.parametrize("error", [LOST, Refused("UNAVAILABLE", "draining"), Refused("RESOURCE_EXHAUSTED", "busy", 5)])
def test_a_temporary_error_is_retried(error):
    assert len(ask([error])[1]) == 2


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("nobody"),
        DeadlineExceeded("late"),
        DecodeError("garbled"),
        Refused("NOT_FOUND", "none"),
        Refused("RESOURCE_EXHAUSTED", "too large"),
        Refused("UNAUTHENTICATED", "wrong token"),
    ],
)
def test_a_final_error_is_raised_at_once(error):
    with pytest.raises(type(error), match=str(error)):
        ask([error])


def test_attempts_are_counted_and_the_last_error_is_raised():
    with pytest.raises(ConnectionLost, match="fourth"):
        ask([LOST, LOST, LOST, ConnectionLost("fourth")])


def test_no_pause_outlasts_the_deadline():
    with pytest.raises(ConnectionLost):
        ask([LOST] * 3, timeout_s=3.0)
    assert ask([LOST] * 2, timeout_s=3.1)[0] == [1.0, 2.0]
    with pytest.raises(ConnectionLost):
        ask([LOST], timeout_s=5.0, takes_s=4.5)


def test_full_jitter_draws_from_nothing_to_all():
    retry = Retry(attempts=1000, first_s=1.0, most_s=1.0)
    pauses = [retry.pause_s(1, LOST) for _ in range(1000)]
    assert 0 <= min(pauses) < 0.1 < 0.9 < max(pauses) <= 1
    half = [Retry(attempts=1000, first_s=1.0, most_s=1.0, jitter=0.5).pause_s(1, LOST) for _ in range(1000)]
    assert 0.5 <= min(half) < max(half) <= 1


def test_pauses_do_not_overflow():
    retry = Retry(attempts=10**6)
    assert all(
        0 <= retry.pause_s(failures, LOST) <= retry.most_s for failures in itertools.chain(range(1, 100), [9999])
    )
