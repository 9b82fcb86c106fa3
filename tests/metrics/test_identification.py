import pytest
import torch

from cutlayer.metrics.identification import equal_inputs, identified, ranks, shares, squared_distances


@pytest.fixture
def pool() -> torch.Tensor:
    return torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_blurred_copy_is_identified(pool):
    blurred = (pool * 0.5 + pool.mean(0) * 0.5).clamp(0, 1)
    assert identified(blurred[:5], pool[:5], pool).tolist() == [1.0] * 5


def test_the_mean_image_identifies_one_of_many(pool):
    mean = pool.mean(0).expand_as(pool)
    assert identified(mean, pool, pool).sum() == 1


def test_someone_else_is_not_the_original(pool):
    assert identified(pool[[1, 0, 2]], pool[:3], pool).tolist() == [0.0, 0.0, 1.0]


def test_more_candidates_make_it_harder(pool):
    halfway = (pool[:1] * 0.4 + pool[9:10] * 0.6).clamp(0, 1)
    assert identified(halfway, pool[:1], pool[:9]).item() == 1
    assert identified(halfway, pool[:1], pool).item() == 0


def test_a_reconstruction_whose_original_is_no_candidate_is_left_out(pool):
    assert identified(pool, pool, pool[:7]).tolist() == [1.0] * 7


@pytest.mark.parametrize("n_values", [1, 500, 1 << 24])
def test_distances_do_not_depend_on_how_the_pool_is_cut(pool, monkeypatch, n_values):
    monkeypatch.setattr("cutlayer.metrics.identification.POOL_VALUES", n_values)
    given = squared_distances(pool[:4], pool)
    torch.testing.assert_close(given, torch.cdist(pool[:4].flatten(1).double(), pool.flatten(1).double()).square())
    assert (given.diagonal() == 0).all()


def test_ranks_count_who_stands_before_the_true_one_and_who_stands_beside_it():
    scores = torch.tensor([[3.0, 2.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, float("nan"), 2.0, 0.5]])
    true = torch.eye(4, dtype=torch.bool)[[1, 0, 1]]
    before, ties = ranks(scores, true)
    assert before.tolist() == [1, 0, 3]
    assert ties.tolist() == [1, 3, 0]
    assert shares(before, ties, 1).tolist() == [0, 0.25, 0]
    assert shares(before, ties, 2).tolist() == [0.5, 0.5, 0]
    assert shares(before, ties, 4).tolist() == [1, 1, 1]


def test_a_copy_of_the_true_candidate_counts_as_the_true_one(pool):
    candidates = torch.cat([pool, pool[:1]])
    true = equal_inputs(pool[:2], candidates)
    assert true.nonzero().tolist() == [[0, 0], [0, 20], [1, 1]]
    found = ranks(-squared_distances(pool[:2], candidates), true)
    assert shares(*found, 1).tolist() == [1, 1]


def test_what_does_not_depend_on_the_candidate_finds_one_in_m():
    assert shares(*ranks(torch.zeros(7, 50), torch.eye(50, dtype=torch.bool)[:7]), 1).mean() == pytest.approx(1 / 50)
