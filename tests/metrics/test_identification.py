import pytest
import torch

from cutlayer.metrics.identification import identified, squared_distances


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
