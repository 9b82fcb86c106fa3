"""Rows that are drawn from what was learned of a table."""

import numpy as np
import pytest

from cutlayer.defenses.tables.release import statistics, synthesized
from cutlayer.errors import ConfigError

COLUMNS = (slice(0, 2), slice(2, 5), slice(5, 6))


@pytest.fixture(scope="module")
def table():
    """A column of two words that equals the class mostly, one of three words that repeats it, and a number."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=4000)
    first = np.where(rng.random(4000) < 0.8, labels, 1 - labels)
    second = np.where(rng.random(4000) < 0.9, first, 2)
    number = rng.choice([0.1, 0.5, 0.9], 4000)
    inputs = np.column_stack([np.eye(2)[first], np.eye(3)[second], number]).astype(np.float32)
    return inputs, labels.astype(np.int64)


def shares(rows, labels):
    """How often each value occurs in each class."""
    return np.stack([rows[labels == c].mean(0) for c in (0, 1)])


def agreement(rows):
    """How often the second column repeats the first."""
    return (rows[:, :2].argmax(1) == rows[:, 2:5].argmax(1)).mean()


@pytest.mark.parametrize("epsilon", [0.0, 20.0])
def test_statistics_keep_how_often_values_occur_in_a_class_and_not_how_columns_go_together(table, epsilon):
    made, labels = statistics(*table, COLUMNS, 4000, np.random.default_rng(1), epsilon)
    assert np.abs(shares(made, labels) - shares(*table))[:, :5].max() < 0.04
    assert agreement(table[0]) > 0.85
    assert agreement(made) < 0.65
    assert np.array_equal(made[:, :2].sum(1), np.ones(4000))
    assert (made[:, 5] >= 0).all()
    assert (made[:, 5] <= 1).all()
    assert np.isin(made[:, 5], table[0][:, 5]).all() == (epsilon == 0)


def test_a_small_budget_hides_the_counts(table):
    """Noise of scale 4 / 0.0004 on counts of some hundreds leaves nothing of them."""
    found = [statistics(*table, COLUMNS, 2000, np.random.default_rng(seed), 4e-4) for seed in range(6)]
    apart = [abs(shares(*each)[1, 1] - shares(*table)[1, 1]) for each in found if len({*each[1]}) == 2]
    assert max(apart) > 0.15
    with pytest.raises(ConfigError, match="privacy budget"):
        statistics(*table, COLUMNS, 10, np.random.default_rng(0), -1.0)


def test_the_noise_of_a_count_is_that_of_its_budget(table):
    """One row is in one count of each of three columns and in one of the classes: the scale is 4 / epsilon."""
    scales = []

    class Spy(np.random.Generator):
        def laplace(self, loc=0.0, scale=1.0, size=None):
            scales.append(scale)
            return super().laplace(loc, scale, size)

    statistics(*table, COLUMNS, 10, Spy(np.random.PCG64(0)), 2.0)
    assert set(scales) == {2.0}


def test_synthetic_rows_keep_how_columns_go_together_until_they_are_swapped(table):
    rng = np.random.default_rng(1)
    made, labels = synthesized(*table, COLUMNS, 4000, rng)
    assert np.abs(shares(made, labels) - shares(*table))[:, :5].max() < 0.05
    assert agreement(made) == pytest.approx(agreement(table[0]), abs=0.03)
    swapped, labels = synthesized(*table, COLUMNS, 4000, rng, sensitive=COLUMNS[0], swapped=1.0)
    assert agreement(swapped) < 0.6
    assert swapped[:, 1].mean() == pytest.approx(table[0][:, 1].mean(), abs=0.03)
