"""The matrix for what is encrypted, and for calls instead of a stream: as `test_matrix`, at fewer places."""

import numpy as np
import pytest

from cutlayer.errors import DeadlineExceeded, Unreachable, WireError
from tests.faults.bench import DEAF, IN_FLIGHT, NEVER, SLOW, bench

ENCRYPTED = ["grpc, mutual TLS", "zmq, CURVE"]

every_lane = pytest.mark.parametrize("lane", [*ENCRYPTED, "oip+grpc"])
every_way = pytest.mark.parametrize("way", IN_FLIGHT)


@every_lane
@every_way
@pytest.mark.parametrize(
    ("kind", "direction", "after"), [("cut", "up", 30_000), ("cut", "down", 20), ("reset", "up", 0)]
)
def test_a_lost_connection_is_an_error_at_once_and_the_next_request_works(
    tmp_path, keys, lane, way, kind, direction, after
):
    with bench(tmp_path, lane, way, SLOW, NEVER, keys) as one:
        getattr(one.proxy, direction).fail(kind, after)
        outcomes = one.ask_all()
        assert getattr(one.proxy, direction).failed.is_set()
        assert any(isinstance(outcome, Unreachable) for outcome in outcomes)
        assert all(isinstance(outcome, (Unreachable, np.ndarray)) for outcome in outcomes), outcomes
        one.works()


@every_lane
@every_way
@pytest.mark.parametrize(("kind", "direction", "after"), [("stall", "up", 30_000), ("reset", "down", 20)])
def test_a_lost_connection_is_retried_and_nothing_is_recorded_twice(tmp_path, keys, lane, way, kind, direction, after):
    with bench(tmp_path, lane, way, keys=keys) as one:
        getattr(one.proxy, direction).fail(kind, after)
        one.works()
        assert getattr(one.proxy, direction).failed.is_set()
        one.proxy.heal()
        one.works()


@every_lane
def test_silence_ends_at_the_deadline_and_late_answers_are_dropped(tmp_path, keys, lane):
    with bench(tmp_path, lane, "stream", DEAF, keys=keys) as one:
        one.proxy.down.fail("stall", 0)
        outcomes = one.ask_all()
        assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes), outcomes
        one.proxy.heal()
        one.works()


@every_lane
@every_way
@pytest.mark.parametrize(("direction", "after"), [("up", 2), ("up", 40), ("up", 30_000), ("down", 2), ("down", 40)])
def test_a_flipped_bit_is_never_taken_for_an_answer(tmp_path, keys, lane, way, direction, after):
    with bench(tmp_path, lane, way, keys=keys) as one:
        getattr(one.proxy, direction).fail("flip", after)
        for outcome, expected in zip(one.ask_all(), one.expected, strict=True):
            if lane in ENCRYPTED and not isinstance(outcome, WireError):
                np.testing.assert_array_equal(outcome, expected)
        assert getattr(one.proxy, direction).failed.is_set()
        one.works()


@every_lane
def test_a_slow_link_is_only_slow(tmp_path, keys, lane):
    with bench(tmp_path, lane, "stream", SLOW, keys=keys) as one:
        one.proxy.up.delay_s = one.proxy.down.delay_s = 0.02
        one.proxy.up.rate_bps = 2e6
        one.works()
