"""The short form of `make soak`, without the check of the memory, which takes longer."""

import pytest

from tests.faults.soak import soak


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_many_clients_get_their_own_answers(tmp_path, transport):
    # The answers are checked one by one; how many there are in a second is a matter of the machine.
    assert soak(tmp_path, transport, n_clients=12, seconds=1.0).answered > 12
