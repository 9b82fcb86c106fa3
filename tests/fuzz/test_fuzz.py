"""The short form of `make fuzz`."""

import pytest

from tests.fuzz import decoders, files, servers
from tests.tiny_split import write_split


@pytest.mark.parametrize("reader", decoders.READERS)
def test_corrupted_frames_are_read_or_refused(reader):
    outcomes = decoders.fuzz(reader, 1500, seed=0)
    assert outcomes["read"] > 20
    assert outcomes["refused"] > 500


@pytest.mark.parametrize("transport", servers.FUZZERS)
def test_a_server_answers_corrupted_frames_and_lives(tmp_path, transport):
    write_split(tmp_path)
    for outcomes in servers.bombard(tmp_path, transport, 400, seed=0).values():
        assert outcomes["answered"] > 5
        assert outcomes["INVALID_ARGUMENT"] + outcomes["refused"] > 100


@pytest.mark.parametrize("transport", servers.FUZZERS)
def test_a_server_of_training_answers_corrupted_frames_and_lives(transport):
    outcomes = servers.bombard_training(transport, 200, seed=0)
    assert outcomes["answered"]
    # The others were read, and came too late, too early or from a stranger.
    assert 50 < outcomes["INVALID_ARGUMENT"] < 190


@pytest.mark.parametrize("reader", files.READERS)
def test_damaged_files_are_read_repaired_or_refused(reader):
    assert files.fuzz(reader, 20, seed=0).total() == 20
