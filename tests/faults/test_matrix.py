"""Every transport, one request at a time and several under way, through a proxy that spoils one thing.

The right exception, within the deadline, and the next request works; whatever was answered is in the tap, once.
"""

import numpy as np
import pytest

from cutlayer.errors import DeadlineExceeded, Unreachable, WireError
from cutlayer.wire.connect import servable
from tests.faults.bench import BUSY, DEAF, IN_FLIGHT, LANES, NEVER, SLOW, bench

every_way = pytest.mark.parametrize("way", IN_FLIGHT)
every_transport = pytest.mark.parametrize("transport", servable())
both_directions = pytest.mark.parametrize("direction", ["up", "down"])


@every_transport
@every_way
@pytest.mark.parametrize("kind", ["cut", "reset"])
@pytest.mark.parametrize(("direction", "after"), [("up", 0), ("up", 30_000), ("down", 0), ("down", 500)])
def test_a_lost_connection_is_an_error_at_once_and_the_next_request_works(
    tmp_path, transport, way, kind, direction, after
):
    with bench(tmp_path, transport, way, SLOW, NEVER) as one:
        getattr(one.proxy, direction).fail(kind, after)
        outcomes = one.ask_all()
        assert getattr(one.proxy, direction).failed.is_set()
        assert any(isinstance(outcome, Unreachable) for outcome in outcomes)
        assert all(isinstance(outcome, (Unreachable, np.ndarray)) for outcome in outcomes), outcomes
        one.works()


@every_transport
@every_way
@pytest.mark.parametrize("kind", ["cut", "reset", "stall"])
@pytest.mark.parametrize(("direction", "after"), [("up", 30_000), ("down", 0), ("down", 500)])
def test_a_lost_connection_is_retried_and_nothing_is_recorded_twice(tmp_path, transport, way, kind, direction, after):
    with bench(tmp_path, transport, way) as one:
        getattr(one.proxy, direction).fail(kind, after)
        one.works()
        assert getattr(one.proxy, direction).failed.is_set()
        one.proxy.heal()
        one.works()


@every_transport
@every_way
@both_directions
def test_silence_ends_at_the_deadline_and_late_answers_are_dropped(tmp_path, transport, way, direction):
    with bench(tmp_path, transport, way, DEAF) as one:
        getattr(one.proxy, direction).fail("stall", 0)
        outcomes = one.ask_all()
        assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes), outcomes
        one.proxy.heal()
        one.works()


@every_transport
@every_way
@both_directions
@pytest.mark.parametrize("after", [0, 9, 40, 400])
def test_a_flipped_bit_ends_in_an_answer_or_a_wire_error(tmp_path, transport, way, direction, after):
    with bench(tmp_path, transport, way) as one:
        getattr(one.proxy, direction).fail("flip", after)
        for outcome in one.ask_all():
            assert isinstance(outcome, (WireError, np.ndarray))
        one.works()


@pytest.mark.parametrize("lane", LANES)
def test_a_request_that_takes_longer_than_a_heartbeat_is_no_silence(tmp_path, keys, lane):
    """Heartbeats wait behind the tensor, which comes through first all the same."""
    with bench(tmp_path, lane, "infer", BUSY, NEVER, keys) as one:
        one.proxy.up.rate_bps = 57_600 * 8 / (1.2 * BUSY.heartbeat_s)
        one.works()


@every_transport
@every_way
def test_a_slow_link_is_only_slow(tmp_path, transport, way):
    """2 Mbit/s and 20 ms: longer for a request than the other tests leave a connection silent."""
    with bench(tmp_path, transport, way, SLOW) as one:
        one.proxy.up.delay_s = one.proxy.down.delay_s = 0.02
        one.proxy.up.rate_bps = 2e6
        one.works()
