"""A checkpoint is whole or not there, and says which run it belongs to."""

import os

import pytest
import torch

from cutlayer.errors import BusyError, ConfigError, WriteError
from cutlayer.protocols.checkpoint import Checkpoints

STATE = ({"w": torch.arange(6.0).reshape(2, 3)}, {"w/momentum_buffer": torch.ones(2, 3)}, {"plan": "p", "rounds": 3})


def same(kept, state=STATE):
    assert kept[2] == state[2]
    for ours, theirs in zip(kept[:2], state[:2], strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    return True


def test_the_last_two_rounds_are_kept_bit_for_bit(tmp_path):
    kept = Checkpoints(tmp_path / "new", "plan a")
    assert kept.last() is None
    for round in (3, 6, 9, 12):
        kept.save(round, {"w": STATE[0]["w"] + round}, *STATE[1:])
    assert kept.last() == 12
    assert sorted(path.name for path in kept.folder.iterdir()) == ["round-12", "round-9"]
    assert same(kept.load(9), ({"w": STATE[0]["w"] + 9}, *STATE[1:]))
    with pytest.raises(ConfigError, match=r"after round 6, of which .* it holds the rounds 9 and 12"):
        kept.load(6)


def test_a_round_before_the_last_one_takes_the_place_of_those_after_it(tmp_path):
    kept = Checkpoints(tmp_path, "plan a")
    for round in (3, 6, 6, 3):
        kept.save(round, *STATE)
    assert kept.last() == 3
    assert same(kept.load(3))


def test_tensors_that_share_memory_and_empty_states_are_kept(tmp_path):
    whole, kept = torch.arange(8.0), Checkpoints(tmp_path, "p")
    kept.save(1, {"a": whole[:4], "b": whole, "turned": whole.reshape(2, 4).T}, {}, {})
    weights, optimizer, _ = kept.load(1)
    assert torch.equal(weights["a"], whole[:4])
    assert torch.equal(weights["turned"], whole.reshape(2, 4).T)
    assert optimizer == {}


def test_a_checkpoint_of_another_plan_is_refused(tmp_path):
    Checkpoints(tmp_path, "plan a").save(1, *STATE)
    with pytest.raises(ConfigError, match="belongs to the plan plan a, not to plan b; name another folder"):
        Checkpoints(tmp_path, "plan b").load(1)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        lambda path: path.write_bytes(b"x" * 100),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=["missing", "cut off", "noise", "a pipe"],
)
def test_a_damaged_checkpoint_is_named(tmp_path, name, spoil):
    kept = Checkpoints(tmp_path, "p")
    kept.save(1, *STATE)
    spoil(tmp_path / "round-1" / name)
    with pytest.raises(ConfigError, match=r"round-1 cannot be read: .*; begin the run anew"):
        kept.load(1)


def test_weights_of_another_round_are_seen_by_their_digest(tmp_path):
    kept = Checkpoints(tmp_path, "p")
    kept.save(1, *STATE)
    kept.save(2, {"w": torch.zeros(2, 3)}, *STATE[1:])
    (tmp_path / "round-1" / "weights.safetensors").replace(tmp_path / "round-2" / "weights.safetensors")
    with pytest.raises(ConfigError, match="not the file that was written"):
        kept.load(2)


def test_what_cannot_be_written_leaves_what_was_kept(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, "p")
    kept.save(1, *STATE)
    (tmp_path / ".round-2.0123456789abcdef.part").mkdir()  # of a process that was killed
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(WriteError, match="no space left"):
        kept.save(2, *STATE)
    monkeypatch.undo()
    assert kept.last() == 1
    assert same(kept.load(1))
    kept.save(2, *STATE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["round-1", "round-2"]


def test_numbers_that_are_no_json_are_an_error_at_once(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        Checkpoints(tmp_path, "p").save(1, {}, {}, {"loss": float("nan")})


def test_the_secret_of_a_folder_stays_and_only_its_owner_reads_it(tmp_path):
    secret = Checkpoints(tmp_path, "p").secret()
    assert Checkpoints(tmp_path, "q").secret() == secret
    assert len(secret) == 32
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0
    (tmp_path / "secret").write_text("")
    with pytest.raises(ConfigError, match="holds no secret"):
        Checkpoints(tmp_path, "p").secret()


def test_one_process_at_a_time_holds_a_folder(tmp_path):
    here, there = Checkpoints(tmp_path, "p").held(), Checkpoints(tmp_path, "p").held()
    with here, pytest.raises(BusyError, match="is in use by"), there:
        raise AssertionError
