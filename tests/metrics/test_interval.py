import math
from dataclasses import astuple

import numpy as np
import pytest

from cutlayer.metrics.interval import bootstrap, exact_proportion, paired_change, proportion
from cutlayer.metrics.leakage import leakage_gain


def test_the_interval_is_that_of_theory_for_a_mean():
    samples = np.random.default_rng(0).normal(5, 2, 400)
    estimate, mean, error = bootstrap(samples, seed=0), samples.mean(), samples.std() / math.sqrt(400)
    assert (estimate.value, estimate.n) == (pytest.approx(mean), 400)
    assert [estimate.low, estimate.high] == pytest.approx([mean - 1.96 * error, mean + 1.96 * error], abs=0.1 * error)


def test_it_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    estimates = [bootstrap(rng.exponential(1, 60), seed=i) for i in range(200)]
    covered = sum(e.low <= 1 <= e.high for e in estimates)
    assert 174 <= covered <= 199  # 95 % of 200 is 190; a skewed mean of 60 covers a little less


def test_memory_chunks_do_not_show():
    small, large = np.random.default_rng(2).random(5), np.random.default_rng(2).random(3000)
    assert bootstrap(large, seed=3) == bootstrap(large, seed=3)
    assert bootstrap(small, seed=3) != bootstrap(small, seed=4)
    assert bootstrap(large, seed=3).low < large.mean() < bootstrap(large, seed=3).high


def test_other_statistics_and_infinite_scores():
    samples = np.array([1.0, 2.0, 3.0, 4.0, 100.0])
    median = bootstrap(samples, seed=0, statistic=np.median)
    assert median.value == 3
    assert {median.low, median.high} <= set(samples)
    infinite = bootstrap(np.full(4, np.inf), seed=0)
    assert (infinite.value, infinite.low, infinite.high) == (np.inf, np.inf, np.inf)


def test_one_sample_has_no_interval_and_none_has_no_value():
    estimate = bootstrap(np.array([0.3]), seed=0)
    assert astuple(estimate) == pytest.approx((0.3, 1, math.nan, math.nan, 0), nan_ok=True)
    with pytest.raises(ValueError, match="no samples"):
        bootstrap(np.array([]), seed=0)


def test_leakage_gain_is_zero_for_the_floor_and_one_for_a_copy():
    floor = np.random.default_rng(0).random(50) + 0.1
    assert leakage_gain(floor, floor, seed=0).value == 0
    assert leakage_gain(np.zeros(50), floor, seed=0).low == 1
    assert leakage_gain(2 * floor, floor, seed=0).value == pytest.approx(-1)


def test_leakage_gain_is_resampled_in_pairs():
    floor = np.random.default_rng(0).random(50) + 0.1
    gain = leakage_gain(floor / 4, floor, seed=0)
    assert gain.value == pytest.approx(0.75)
    assert gain.high - gain.low < 1e-9
    with pytest.raises(ValueError, match="do not pair"):
        leakage_gain(floor, floor[:-1], seed=0)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"), [(8, 10, 0.4902, 0.9433), (20, 20, 0.8389, 1), (0, 20, 0, 0.1611)]
)
def test_wilson_interval(successes, n, low, high):
    """The interval of Wilson 1927's formula by hand; a perfect score is not certainty."""
    expected = (successes / n, n, low, high, 0)
    assert astuple(proportion(successes, n)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_an_impossible_proportion_is_refused(successes, n):
    with pytest.raises(ValueError, match="no proportion"):
        proportion(successes, n)


def answers(both: int, lost: int, gained: int, neither: int):
    before = np.repeat([True, True, False, False], [both, lost, gained, neither])
    after = np.repeat([True, False, True, False], [both, lost, gained, neither])
    return before, after


def test_a_paired_change_has_the_published_interval():
    # diffpropci.mp(b = 40, c = 20, n = 160, conf.level = 0.95) of the R package PropCIs gives these ends.
    change = paired_change(*answers(50, 40, 20, 50))
    assert (change.value, change.n) == (-0.125, 160)
    assert [change.low, change.high] == pytest.approx([-0.21601726, -0.03089632], abs=1e-6)


def test_a_paired_change_is_not_told_apart_from_none_by_a_few_images():
    for few in (answers(400, 0, 0, 100), answers(400, 1, 0, 99), answers(395, 3, 2, 100)):
        change = paired_change(*few)
        assert change.low < 0 < change.high
    assert paired_change(*answers(380, 20, 0, 100)).high < 0
    with pytest.raises(ValueError, match="do not pair"):
        paired_change(np.ones(3, bool), np.ones(4, bool))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Clopper and Pearson's intervals as R's binom.test prints them.
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (10, 10, 0.6915, 1.0),
        (98, 100, 0.9296, 0.9976),
        (1, 1, 0.0250, 1.0),
    ],
)
def test_the_exact_interval_of_a_share(successes, n, low, high):
    found = exact_proportion(successes, n)
    assert (found.value, found.n) == (successes / n, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_parts_of_a_success_widen_the_exact_interval():
    found, below, above = (exact_proportion(successes, 10) for successes in (4.5, 4, 5))
    assert (found.value, found.low, found.high) == (0.45, below.low, above.high)


def test_the_exact_interval_covers_at_least_95_percent():
    for share in (0.02, 0.5, 0.9):
        chance = [math.comb(20, k) * share**k * (1 - share) ** (20 - k) for k in range(21)]
        holds = [exact_proportion(k, 20).low <= share <= exact_proportion(k, 20).high for k in range(21)]
        assert sum(c for c, inside in zip(chance, holds, strict=True) if inside) >= 0.95


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_no_exact_interval_of_what_is_no_share(successes, n):
    with pytest.raises(ValueError, match="no proportion"):
        exact_proportion(successes, n)
