"""The short form of `make kill`."""

import pytest

from tests.faults.kill import survive

REQUESTS, KILLS, IN_FLIGHT = 120, 2, 3


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_a_killed_server_loses_no_request(tmp_path, transport):
    survived = survive(tmp_path, transport, REQUESTS, KILLS, IN_FLIGHT)
    assert survived.answered == REQUESTS
    assert set(survived.recorded.values()) == {1}, "a request is in the tap twice"
    assert len(survived.recorded) == REQUESTS, "an answered request is not in the tap"
