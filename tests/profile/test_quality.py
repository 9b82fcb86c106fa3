"""Accuracy and leakage are measured on what is sent, with a head of two operators."""

from dataclasses import replace

import numpy as np
import pytest

from cutlayer.data.load import load
from cutlayer.data.splits import Dataset, Splits
from cutlayer.profile import quality
from cutlayer.profile.prepare import Candidate
from cutlayer.records.run import Ceiling
from tests.text_split import WIDTH, write_text_split
from tests.tiny_split import CLASSES, INPUT, images, write_split


@pytest.fixture
def splits():
    def part(seed):
        return Dataset(images(40, seed), np.random.default_rng(seed).integers(0, CLASSES, 40))

    return Splits("toy", ("a", "b", "c"), part(0), part(1), part(2), part(3))


def candidate(folder, **options):
    write_split(folder, **options)
    return Candidate("relu", folder, (2, 6, 6), 288, None, None)


def test_accuracy_is_that_of_the_codec(tmp_path, splits):
    measured = quality.accuracy(candidate(tmp_path), ["raw", "top-k:0.02"], splits)
    raw, sparse = measured["relu", "raw"], measured["relu", "top-k:0.02"]
    assert raw.accuracy == raw.whole_accuracy == sparse.whole_accuracy
    assert raw.accuracy.n == 40
    assert raw.accuracy.low <= raw.accuracy.value <= raw.accuracy.high
    assert sparse.accuracy != raw.accuracy


def test_leakage_is_the_worst_of_the_attacks_and_a_defense_lowers_it(tmp_path, splits, monkeypatch):
    monkeypatch.setattr(quality, "ATTACKS", {"image": {"ridge": {}, "nearest": {}}})
    without = quality.leakage(candidate(tmp_path / "bare"), ["raw"], splits, 0, lambda _: None)["relu", "raw"]
    bare = without.leakage
    noise = {"name": "gaussian-noise", "sigma": 10.0}
    found = quality.leakage(candidate(tmp_path / "covered", defense=noise), ["raw"], splits, 0, lambda _: None)
    covered, bound = found["relu", "raw"], found["relu", "raw"].ceiling
    assert bare.value == max(gain.value for gain in bare.of_each.values())
    assert bare.attack in ("ridge", "nearest")
    assert covered.leakage.value < bare.value
    assert without.ceiling == Ceiling("deterministic")
    assert bound.candidates == 40
    assert covered.leakage.low <= bound.over(1).leakage_gain.high < 0.9


def test_identified_is_the_worst_of_the_watch_list_and_the_pixels(tmp_path, splits, monkeypatch):
    monkeypatch.setattr(quality, "ATTACKS", {"image": {"nearest": {}}})
    split = candidate(tmp_path / "bare")
    found = quality.leakage(split, ["raw"], splits, 0, lambda _: None)["relu", "raw"].identified
    assert (found.attack, found.how, found.candidates, found.n, found.value) == ("watch-list", "watch list", 40, 40, 1)
    assert found.low == pytest.approx(0.912, abs=1e-3)
    noise = {"name": "gaussian-noise", "sigma": 1000.0}
    covered = quality.leakage(candidate(tmp_path / "covered", defense=noise), ["raw"], splits, 0, lambda _: None)
    assert covered["relu", "raw"].identified.value < 0.2


def test_sentences_are_judged_and_attacked_at_their_own_lengths(tmp_path, monkeypatch):
    """A head that looks up a vector for each token hides none of them; noise in its vectors hides some."""
    for name, n in (("VICTIMS", 12), ("AUXILIARY", 80), ("IMAGES", 30)):
        monkeypatch.setattr(quality, name, n)
    data = load("documentation")
    splits = replace(data, private=data.private.take(40))
    bare, covered = tmp_path / "bare", tmp_path / "covered"
    write_text_split(bare)
    write_text_split(covered, {"name": "gaussian-noise", "sigma": 5.0})
    found = []
    for folder in (bare, covered):
        cut = Candidate("vectors", folder, (32, WIDTH), 4 * 32 * WIDTH, None, None)
        judged = quality.accuracy(cut, ["raw"], splits)["vectors", "raw"]
        assert judged.accuracy.n == 30
        found.append(quality.leakage(cut, ["raw"], splits, 0, lambda _: None)["vectors", "raw"])
    without, behind = found
    assert without.leakage.value == without.identified.value == 1
    assert without.ceiling == Ceiling("deterministic")
    assert set(without.leakage.of_each) == {"token-ridge", "nearest-activation"}
    assert behind.leakage.value < 0.9
    assert behind.leakage.low <= behind.ceiling.over(1).leakage_gain.high
    assert behind.ceiling.candidates == 40


def test_a_head_that_takes_one_sample_gives_batches():
    def head(batch):
        assert len(batch) == 1
        return 2 * batch

    batch = images(3)
    np.testing.assert_array_equal(quality.one_by_one(head)(batch), 2 * batch)
    assert batch.shape[1:] == INPUT.shape
