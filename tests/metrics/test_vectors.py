"""How near vectors stay: the cosine, its interval, and the nearest other vector."""

import math

import numpy as np
import pytest

from cutlayer.metrics import vectors as measured
from cutlayer.metrics.vectors import vectors


def test_vectors_that_stay_have_a_cosine_of_1_whatever_their_length():
    whole = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    found = vectors(3 * whole, whole, 0)
    assert found.cosine.value == pytest.approx(1)
    assert found.cosine.n == 40
    assert found.cosine.high <= 1
    assert (found.same_nearest.value, found.same_nearest.n) == (1, 40)
    units = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    pairs = (units @ units.T)[~np.eye(40, dtype=bool)]
    assert found.apart == pytest.approx(float(pairs.mean()), abs=1e-6)


def test_the_cosine_is_that_of_each_input_with_itself():
    whole = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    behind = np.array([[0, 2], [0, 5], [-1, -1]], np.float32)
    assert vectors(behind, whole, 0).cosine.value == pytest.approx((0 + 1 - 1) / 3)
    assert vectors(np.zeros_like(whole), whole, 0).cosine.value == 0, "a vector of zeros is like none"


def test_the_nearest_other_vector_is_searched_among_the_answers_themselves(monkeypatch):
    whole = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], np.float32)
    turned = whole[:, ::-1]
    assert vectors(turned, whole, 0).same_nearest.value == 1, "all are turned alike"
    swapped = whole[[0, 2, 1, 3]]
    assert vectors(swapped, whole, 0).same_nearest.value == 0
    monkeypatch.setattr(measured, "TOGETHER", 3)
    rng = np.random.default_rng(1)
    whole = rng.normal(size=(10, 4))
    behind = whole + rng.normal(size=whole.shape)
    units, others = (given / np.linalg.norm(given, axis=1, keepdims=True) for given in (whole, behind))
    away = -9 * np.eye(10)
    expected = ((units @ units.T + away).argmax(1) == (others @ others.T + away).argmax(1)).mean()
    assert vectors(behind, whole, 0).same_nearest.value == pytest.approx(expected)


def test_of_equal_inputs_either_is_the_nearest():
    whole = np.array([[1, 0], [0.9, 0.2], [0.9, 0.2]], np.float32)
    behind = whole + np.array([[0, 0], [0.01, 0], [0, 0.01]], np.float32)
    assert vectors(behind, whole, 0).same_nearest.value == 1


def test_one_vector_alone_has_no_other():
    found = vectors(np.ones((1, 3)), np.ones((1, 3)), 0)
    assert found.cosine.value == pytest.approx(1)
    assert math.isnan(found.cosine.low)
    assert found.same_nearest is None
    assert math.isnan(found.apart)
