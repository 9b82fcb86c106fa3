"""A transcript brings back what was recorded, step by step, and refuses what it did not write."""

import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from cutlayer.errors import DataError
from cutlayer.records.transcript import Delivered, Recorder, Seen, Transcript


def seen(round, step, client=1, **arrays):
    return Seen(client=client, round=round, step=step, **arrays)


def full(round, step, client=1):
    rng = np.random.default_rng((round, step, client))
    smashed, gradient = rng.standard_normal((2, 3, 4, 2, 2), np.float32)
    return seen(round, step, client, smashed=smashed, gradient=gradient, labels=rng.integers(3, size=3))


def same(a, b):
    assert (a.client, a.round, a.step) == (b.client, b.round, b.step)
    for name in ("smashed", "labels", "gradient"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None)
        if left is not None:
            assert left.dtype == right.dtype
            assert np.array_equal(left, right)


def test_steps_come_back_in_order_whatever_the_files(tmp_path):
    steps = [full(round, step, client) for round in (1, 2) for step in range(3) for client in (2, 1)]
    for per_file in (1, 4, 100):
        recorder = Recorder(tmp_path / str(per_file), per_file)
        for round in (1, 2):
            for one in steps:
                if one.round == round:
                    recorder.see(one)
            recorder.end_round(round)
            recorder.end_round(round)
        for a, b in zip(Transcript(tmp_path / str(per_file)).steps(), steps, strict=True):
            same(a, b)


def test_what_a_party_does_not_see_is_none(tmp_path):
    recorder = Recorder(tmp_path)
    steps = [seen(1, 0, smashed=np.ones((2, 3), np.float32)), seen(1, 1, gradient=np.ones((0, 3), np.float32))]
    for one in steps:
        recorder.see(one)
    recorder.end_round(1)
    for a, b in zip(Transcript(tmp_path).steps(), steps, strict=True):
        same(a, b)


def test_weights_of_rounds(tmp_path):
    recorder = Recorder(tmp_path)
    for round in (0, 2, 10):
        recorder.model(round, {"fc.weight": np.full((2, 2), round, np.float32).T})
    transcript = Transcript(tmp_path)
    assert transcript.rounds == (0, 2, 10)
    assert transcript.model(10)["fc.weight"].tolist() == [[10, 10], [10, 10]]
    with pytest.raises(DataError, match=r"no weights of round 3; those of these rounds are there: 0, 2, 10"):
        transcript.model(3)


def test_after_a_rollback_the_later_rounds_are_recorded_anew(tmp_path):
    recorder = Recorder(tmp_path, 2)
    for round in (1, 2):
        for step in range(3):
            recorder.see(full(round, step, client=9))
        recorder.model(round, {"w": np.zeros(1, np.float32)})
        if round == 1:
            recorder.end_round(1)
    recorder.rewind(1)
    recorder.see(full(2, 0, client=5))
    recorder.end_round(2)
    transcript = Transcript(tmp_path)
    assert [(s.round, s.client) for s in transcript.steps()] == [(1, 9)] * 3 + [(2, 5)]
    assert transcript.rounds == (1,)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"step": np.zeros(1, np.int64)}, "'client' is missing"),
        ({"step": np.zeros(1, np.int64), "client": np.zeros(2, np.int64)}, "list of steps is not whole"),
        (
            {"step": np.zeros(1, np.int64), "client": np.zeros(1, np.int64), "1.smashed": np.zeros(1)},
            "'1.smashed' is no part",
        ),
        (
            {"step": np.zeros(1, np.int64), "client": np.zeros(1, np.int64), "0.secret": np.zeros(1)},
            "'0.secret' is no part",
        ),
    ],
)
def test_another_content_is_refused(tmp_path, arrays, words):
    save_file(arrays, tmp_path / "steps-000001-000000.safetensors")
    with pytest.raises(DataError, match=words):
        list(Transcript(tmp_path).steps())


def test_damage_and_what_is_no_file_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds no transcript"):
        Transcript(tmp_path / "none")
    path = tmp_path / "model-000001.safetensors"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        Transcript(tmp_path).model(1)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="pipe"):
        Transcript(tmp_path).model(1)


def test_what_clients_deliver_comes_back_by_round_and_client(tmp_path):
    recorder, weights = Recorder(tmp_path), {"fc.weight": np.ones((2, 3), np.float32)}
    sums = tuple({"fc.weight": np.full((2, 3), step, np.float32)} for step in range(12))
    for round, client in ((1, 2), (1, 1), (2, 1)):
        recorder.deliver(Delivered(client=client, round=round, samples=7, steps=12, weights=weights, gradients=sums))
    found = list(Transcript(tmp_path).delivered(1))
    assert [(d.client, d.round, d.samples, d.steps) for d in found] == [(1, 1, 7, 12), (2, 1, 7, 12)]
    assert np.array_equal(found[0].weights["fc.weight"], weights["fc.weight"])
    assert [g["fc.weight"][0, 0] for g in found[0].gradients] == list(range(12))
    assert not list(Transcript(tmp_path).delivered(3))
    recorder.rewind(1)
    assert not list(Transcript(tmp_path).delivered(2))


@pytest.mark.parametrize(
    "arrays",
    [
        {"samples": np.ones(1, np.int64)},
        {"samples": np.ones(1, np.int64), "steps": np.ones(1, np.int64), "other": np.ones(1)},
    ],
)
def test_a_damaged_update_is_refused(tmp_path, arrays):
    save_file(arrays, tmp_path / "update-000001-000001.safetensors")
    with pytest.raises(DataError, match="is damaged"):
        list(Transcript(tmp_path).delivered(1))
