import logging

import pytest

from cutlayer.wire import visitors
from cutlayer.wire.visitors import LINES, REMEMBERED, WINDOW_S, Visitors


@pytest.fixture
def log(caplog):
    """A log on a clock of the test, and its lines so far."""
    now = [0.0]
    caplog.set_level(logging.INFO, visitors.log.name)
    return Visitors(lambda: now[0]), now, lambda: [record.getMessage() for record in caplog.records]


def test_a_flood_of_one_reason_is_counted_and_hides_no_other(log):
    said, now, lines = log
    for port in range(1000):
        said.turned_away(f"host:{port}", "token", "no token.")
    assert lines() == [f"host:{port} is refused: no token." for port in range(LINES)]
    said.refused("host:7", "NOT_FOUND", "another split.")
    assert lines()[LINES:] == ["host:7 is refused, NOT_FOUND: another split."]
    assert said.counts() == (0, {"token": 1000})
    now[0] += WINDOW_S
    said.arrived("host:1")
    assert lines()[LINES + 1 :] == [f"token: {1000 - LINES} more since, not listed", "host:1 is connected"]
    said.turned_away("host:2", "token", "no token.")
    assert lines()[-1] == "host:2 is refused: no token."


def test_what_is_withheld_at_last_is_said_at_the_end(log):
    said, _, lines = log
    for port in range(LINES + 3):
        said.arrived(f"host:{port}")
    said.close()
    assert lines()[LINES:] == ["connections: 3 more since, not listed"]
    said.close()
    assert len(lines()) == LINES + 1


def test_a_connection_is_counted_once_and_memory_is_bounded(log):
    said, _, _ = log
    for _ in range(3):
        said.arrived("host:1")
    assert said.counts() == (1, {})
    for port in range(REMEMBERED + 100):
        said.arrived(f"other:{port}")
    assert not said.knows("host:1")
    assert len(said._seen) == REMEMBERED
