"""Metrics of pictures that are to show classes, against values that are known by hand or by a plain loop."""

import math

import pytest
import torch

from cutlayer.metrics import class_level as module
from cutlayer.metrics.class_level import distance_gain, diversity, kid, right, right_among, spread, squared_distance


def test_a_verdict_is_right_at_the_top_among_the_first_five_and_among_the_victims_classes_only():
    logits = torch.tensor([[1.0, 2, 3, 4, 5, 6], [6.0, 5, 4, 3, 2, 1]])
    assert right(logits, 5).tolist() == [True, False]
    assert right(logits, 1, 5).tolist() == [True, True]
    assert right(logits, 0, 5).tolist() == [False, True]
    assert right(logits, 0, 50).tolist() == [True, True]
    assert right_among(logits, 2, (0, 1, 2)).tolist() == [True, False]
    assert right_among(logits, 2, (2, 0)).tolist() == [True, False]


def test_distances_are_squares_to_the_nearest():
    found = squared_distance(torch.tensor([[0.0, 0], [3, 4]]), torch.tensor([[0.0, 1], [0, 0]]))
    assert found.tolist() == pytest.approx([0, 18])


@pytest.mark.parametrize(("distance", "gain"), [(8.0, 0.0), (2.0, 1.0), (5.0, 0.5), (14.0, -1.0)])
def test_the_gain_is_0_at_the_stranger_and_1_at_real_samples(distance, gain):
    assert distance_gain(distance, 8.0, 2.0) == gain
    assert math.isnan(distance_gain(distance, 2.0, 2.0))


def test_diversity_is_the_mean_distance_of_two():
    assert diversity(torch.tensor([[0.0], [3.0], [6.0]])) == pytest.approx(4.0)
    assert math.isnan(diversity(torch.ones(1, 2)))


def test_kid_is_near_0_for_one_distribution_whatever_the_number_and_grows_with_the_distance():
    random = torch.Generator().manual_seed(0)
    draws = [kid(*torch.randn(2, 8, 4, generator=random)) for _ in range(400)]
    assert abs(sum(draws) / 400) < 0.1
    few, many = (torch.randn(n, 4, generator=random) for n in (8, 200))
    assert kid(few * 9, many * 9) == pytest.approx(kid(few, many))
    assert 0.5 < kid(few + 1, many) < kid(few + 2, many)
    assert math.isnan(kid(few[:1], many))


def test_the_kernel_distance_is_that_of_a_plain_loop():
    random = torch.Generator().manual_seed(1)
    a, b = torch.randn(3, 2, generator=random), torch.randn(4, 2, generator=random)

    def mean(pairs):
        values = [float((x @ y / b.square().mean() / 2 + 1) ** 3) for x, y in pairs]
        return sum(values) / len(values)

    def others(x):
        return [(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]

    expected = mean(others(a)) + mean(others(b)) - 2 * mean([(x, y) for x in a for y in b])
    assert kid(a, b) == pytest.approx(expected, rel=1e-5)


def test_pictures_on_a_few_real_samples_are_precise_and_cover_little():
    real = torch.arange(12.0)[:, None] * torch.ones(1, 2)
    exact = spread(real + 0.01, real)
    assert exact.precision == exact.recall == exact.coverage == 1
    few = spread(real[:4] * 0.01 + real[:1], real)
    assert few.precision == 1
    assert few.coverage <= 4 / 12
    far = spread(real + 100, real)
    assert far[:4] == (0, 0, 0, 0)
    assert spread(torch.zeros(4, 2) + real[5], real).density >= 1


def test_too_few_samples_have_no_neighbours():
    assert all(map(math.isnan, spread(torch.zeros(module.NEIGHBOURS, 2), torch.rand(9, 2))))
