"""Every transport, plain and encrypted, with one request at a time and several, through a proxy that does one fault.

Each request ends in an answer or the right exception within its deadline, the next request works, and every answered
request is in the tap once. Encrypted lanes, and the one with a call for each request, are tested at fewer places.
"""

from itertools import product

import numpy as np
import pytest

from cutlayer.errors import DeadlineExceeded, Unreachable, WireError
from cutlayer.wire.connect import servable
from tests.faults.bench import BUSY, DEAF, IN_FLIGHT, LANES, NEVER, SLOW, bench

PLAIN = servable()
FURTHER = [lane for lane in LANES if lane not in PLAIN]
ENCRYPTED = [lane for lane in FURTHER if LANES[lane].secured]


def faults(plain, further):
    """Parametrize a test with its faults over the plain lanes, and over the further ones."""
    cases = [*product(PLAIN, IN_FLIGHT, plain), *product(FURTHER, IN_FLIGHT, further)]
    return pytest.mark.parametrize(
        ("lane", "way", "kind", "direction", "after"),
        [(lane, way, *fault) for lane, way, fault in cases],
        ids=lambda value: str(value).replace(", ", " "),
    )


@pytest.fixture
def start(tmp_path, keys):
    """A function that starts a bench; see `bench`."""
    return lambda lane, way, *options: bench(tmp_path, lane, way, *options, keys=keys)


@faults(
    [*product(["cut", "reset"], ["up"], [0, 30_000]), *product(["cut", "reset"], ["down"], [0, 500])],
    [("cut", "up", 30_000), ("cut", "down", 20), ("reset", "up", 0)],
)
def test_a_lost_connection_is_an_error_at_once_and_the_next_request_works(start, lane, way, kind, direction, after):
    with start(lane, way, SLOW, NEVER) as device:
        for _ in range(5):
            device.link(direction).fail(kind, after)
            outcomes = device.ask_all()
            assert device.link(direction).failed.is_set()
            assert all(isinstance(outcome, (Unreachable, np.ndarray)) for outcome in outcomes), outcomes
            device.check_all_answered()
            if any(isinstance(outcome, Unreachable) for outcome in outcomes):
                return
            # A late frame of the transport itself met the fault before the requests were sent.
        pytest.fail("no request was lost")


@faults(
    [(kind, *place) for kind in ("cut", "reset", "stall") for place in (("up", 30_000), ("down", 0), ("down", 500))],
    [("stall", "up", 30_000), ("reset", "down", 20)],
)
def test_a_lost_connection_is_retried_and_no_request_is_recorded_twice(start, lane, way, kind, direction, after):
    with start(lane, way) as device:
        device.link(direction).fail(kind, after)
        device.check_all_answered()
        assert device.link(direction).failed.is_set()
        device.proxy.heal()
        device.check_all_answered()


@faults([("stall", "up", 0), ("stall", "down", 0)], [("stall", "down", 0)])
def test_silence_ends_at_the_deadline_and_late_answers_are_dropped(start, lane, way, kind, direction, after):
    with start(lane, way, DEAF) as device:
        device.link(direction).fail(kind, after)
        outcomes = device.ask_all()
        assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes), outcomes
        device.proxy.heal()
        device.check_all_answered()


@faults(
    [*product(["flip"], ["up", "down"], [0, 9, 40, 400])],
    [*product(["flip"], ["up"], [2, 40, 30_000]), *product(["flip"], ["down"], [2, 40])],
)
def test_a_flipped_bit_ends_in_an_answer_or_a_wire_error(start, lane, way, kind, direction, after):
    """Over an encrypted lane the answer is the right one."""
    with start(lane, way) as device:
        device.link(direction).fail(kind, after)
        for outcome, expected in zip(device.ask_all(), device.expected, strict=True):
            assert isinstance(outcome, (WireError, np.ndarray))
            if lane in ENCRYPTED and not isinstance(outcome, WireError):
                np.testing.assert_array_equal(outcome, expected)
        assert device.link(direction).failed.is_set()
        device.check_all_answered()


@pytest.mark.parametrize("lane", LANES)
def test_a_request_may_take_longer_than_a_heartbeat(start, lane):
    """Heartbeats wait behind the tensor, which arrives before the connection counts as dead."""
    with start(lane, "infer", BUSY, NEVER) as device:
        device.proxy.up.rate_bps = 57_600 * 8 / (1.2 * BUSY.heartbeat_s)
        device.check_all_answered()


@pytest.mark.parametrize("way", IN_FLIGHT)
@pytest.mark.parametrize("lane", LANES)
def test_a_slow_link_is_only_slow(start, lane, way):
    """2 Mbit/s and 20 ms: a request takes longer than the silence in the other tests."""
    with start(lane, way, SLOW) as device:
        device.proxy.up.delay_s = device.proxy.down.delay_s = 0.02
        device.proxy.up.rate_bps = 2e6
        device.check_all_answered()
