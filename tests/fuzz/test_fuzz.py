"""The short form of `make fuzz`."""

import pytest

from tests.fuzz import decoders


@pytest.mark.parametrize("reader", decoders.READERS)
def test_spoiled_frames_are_read_or_refused(reader):
    outcomes = decoders.fuzz(reader, 1500, seed=0)
    assert outcomes["read"] > 20
    assert outcomes["refused"] > 500
