"""AUC and true positives at few false ones, by hand and against scikit-learn, and intervals over whole groups."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cutlayer.metrics.detection import Curve, detected

RNG = np.random.default_rng(0)
ONCE = np.ones((1, 200), np.float32)


def test_by_hand_with_ties():
    curve = Curve(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    # 3 beats both negatives, 2 beats one and ties with one: 3.5 of 4 pairs.
    assert curve.auc(np.ones((1, 4), np.float32)) == pytest.approx([0.875])
    assert curve.true_positives(np.ones((1, 4), np.float32), 0.01) == pytest.approx([0.5])
    assert curve.true_positives(np.ones((1, 4), np.float32), 0.5) == pytest.approx([1.0])


def test_true_positives_at_one_percent_by_hand():
    """One of 100 negatives may be taken: the second best negative, 0.98, is the limit that 3 of 4 positives exceed."""
    negatives = np.r_[0.99, 0.98, np.linspace(0, 0.5, 98)]
    positives = np.array([1.0, 0.985, 0.981, 0.9])
    scores, positive = np.r_[negatives, positives], np.r_[np.zeros(100, bool), np.ones(4, bool)]
    once = np.ones((1, 104), np.float32)
    assert Curve(scores, positive).true_positives(once, 0.01) == pytest.approx([0.75])
    assert Curve(scores, positive).true_positives(once, 0.001) == pytest.approx([0.25])


def test_weighted_as_in_scikit_learn():
    scores, positive = RNG.normal(size=200).round(1), RNG.random(200) < 0.3
    weights = RNG.integers(0, 4, (5, 200)).astype(np.float32)
    expected = [roc_auc_score(positive, scores, sample_weight=w) for w in weights]
    assert Curve(scores, positive).auc(weights) == pytest.approx(expected)


def test_perfect_and_constant_scores():
    positive = (np.arange(300) % 2 == 0)[:, None]
    found = detected(positive.astype(float), np.zeros((300, 1)), positive, np.arange(300), seed=0)
    assert (found.auc.value, found.baseline.value, found.over.value) == (1.0, 0.5, 0.5)
    assert found.over.low == found.over.high == 0.5
    assert found.at[0].value == 1.0
    assert found.at[1] is None, "150 negatives cannot show 0.1 %"
    nothing = detected(np.zeros((300, 1)), np.zeros((300, 1)), positive, np.arange(300), seed=0)
    assert nothing.auc.low <= 0.5 <= nothing.auc.high
    assert nothing.over.low <= 0 <= nothing.over.high
    assert nothing.at[0].value == 0.0


def test_the_interval_covers_the_true_value():
    """The AUC of normal scores one standard deviation apart is Phi(1 / sqrt 2) = 0.760."""
    covered = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        positive = rng.random(150) < 0.5
        found = detected(
            (rng.normal(size=150) + positive)[:, None], np.zeros((150, 1)), positive[:, None], np.arange(150), 0
        )
        covered += found.auc.low <= 0.7602 <= found.auc.high
    assert 20 <= covered <= 25


def test_copies_in_a_group_make_the_interval_no_narrower():
    positive, scores = RNG.random(40) < 0.5, RNG.normal(size=40)
    once = detected(scores[:, None], np.zeros((40, 1)), positive[:, None], np.arange(40), 0)
    copied = [np.repeat(values, 9) for values in (scores, positive, np.arange(40))]
    many = detected(copied[0][:, None], np.zeros((360, 1)), copied[1][:, None], copied[2], 0)
    assert many.auc.value == pytest.approx(once.auc.value)
    assert many.auc.high - many.auc.low == pytest.approx(once.auc.high - once.auc.low, rel=0.05)


def test_several_classes_have_the_mean_of_their_curves():
    labels, scores = RNG.integers(0, 3, 200), RNG.normal(size=(200, 3))
    truth = labels[:, None] == np.arange(3)
    found = detected(scores, scores, truth, np.arange(200), 0)
    assert found.auc.value == pytest.approx(roc_auc_score(truth, scores, average="macro"))
    assert found.at == (None, None)
    assert (found.over.low, found.over.high) == (0.0, 0.0), "the same scores differ in no resample"


def test_a_resample_of_pairs_makes_no_pair_of_an_input_with_its_copy():
    units = np.array([0, 0, 1, 2])
    pairs = np.array([0, 0, 1, 2]), np.array([1, 2, 3, 3])
    positive = np.array([True, False, False, False])[:, None]
    scores = np.array([0.9, 0.1, 0.2, 0.95])[:, None]
    found = detected(scores, scores * 0, positive, units, 0, pairs)
    assert found.auc.value == pytest.approx(2 / 3)
    assert found.auc.n == 4
