"""Averages and sums do not depend on the order in which the parts arrived, and are exact in float64."""

import itertools
from fractions import Fraction

import pytest
import torch
from torch import nn

from cutlayer.protocols.averaging import averaged, shared_names, summed

N = {1: 7, 2: 400, 3: 31, 4: 1}


def states(seed: int = 0) -> dict[int, dict[str, torch.Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    return {
        client: {
            "weight": torch.randn(5, 3, generator=rng) * 10.0 ** (client - 2),
            "bn.num_batches_tracked": torch.tensor(10 * client),
        }
        for client in N
    }


def test_the_order_of_arrival_does_not_matter() -> None:
    given = states()
    expected = averaged(given, N)
    for order in itertools.permutations(given):
        arrived = averaged({client: given[client] for client in order}, {client: N[client] for client in order[::-1]})
        assert list(arrived) == list(expected)
        assert all(torch.equal(arrived[name], expected[name]) for name in expected)


def test_an_average_is_the_exact_one_rounded_once() -> None:
    given = states()
    mean = averaged(given, N)["weight"]
    for place in itertools.product(range(5), range(3)):
        exact = sum(Fraction(float(given[c]["weight"][place])) * N[c] for c in N) / sum(N.values())
        assert abs(Fraction(float(mean[place])) - exact) <= abs(exact) * Fraction(1, 2**23)
        # A mean in float32 is wrong by more than one rounding somewhere; this one is not.
        assert float(mean[place]) == torch.tensor(float(exact), dtype=torch.float64).float().item()


def test_integers_take_their_maximum() -> None:
    mean = averaged(states(), N)["bn.num_batches_tracked"]
    assert mean.dtype == torch.int64
    assert mean.item() == 40


def test_a_name_is_averaged_over_those_who_have_it() -> None:
    deep, shallow = {"a": torch.ones(2), "b": torch.full((2,), 4.0)}, {"a": torch.full((2,), 3.0)}
    mean = averaged({2: shallow, 1: deep}, {1: 1, 2: 3})
    assert mean["a"].tolist() == [2.5, 2.5]
    assert mean["b"].tolist() == [4.0, 4.0]


def test_nothing_shares_memory_with_what_it_came_from() -> None:
    given = {1: {"a": torch.ones(2), "n": torch.tensor(3)}}
    mean = averaged(given, {1: 5})
    mean["a"] += 1
    mean["n"] += 1
    assert given[1]["a"].tolist() == [1, 1]
    assert given[1]["n"].item() == 3
    two = {1: {"a": torch.ones(2)}, 2: {"a": torch.zeros(2)}}
    averaged(two, {1: 1, 2: 1})["a"] += 1
    assert two[1]["a"].tolist() == [1, 1]
    assert two[2]["a"].tolist() == [0, 0]


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        averaged({1: {"a": torch.ones(2)}, 2: {"a": torch.ones(3)}}, {1: 1, 2: 1})
    with pytest.raises(ValueError, match="weight above 0"):
        averaged({1: {"a": torch.ones(2)}}, {1: 0})


def test_a_sum_scales_each_part_and_does_not_depend_on_the_order() -> None:
    given = {3: {"a": torch.tensor([1e8])}, 1: {"a": torch.tensor([1.0])}, 2: {"a": torch.tensor([-1e8])}}
    for order in itertools.permutations(given):
        total = summed({client: given[client] for client in order}, {1: 2.0, 2: 1.0, 3: 1.0})
        assert total["a"].tolist() == [2.0]
        assert total["a"].dtype == torch.float32


def test_what_travels_of_a_batch_normalization_follows_the_policy() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    everything = set(model.state_dict())
    assert shared_names(model, "shared") == everything
    assert everything - shared_names(model, "local") == {name for name in everything if name.startswith("1.")}
    assert shared_names(model, "statistics-local") - shared_names(model, "local") == {"1.weight", "1.bias"}
    assert shared_names(nn.BatchNorm1d(2), "statistics-local") == {"weight", "bias"}
