import numpy as np
import pytest
import torch

from cutlayer.defenses.cem import GAMMA, Cem
from cutlayer.defenses.shared.aware import smashed_of
from cutlayer.defenses.shared.clusters import Clusters, k_means
from tests.defenses.victims import accuracy, shades, small_split


def groups(centers, n=20, spread=0.1):
    """Points around each center, one group after the other."""
    generator = torch.Generator().manual_seed(0)
    spread_out = torch.tensor(centers).repeat_interleave(n, 0)
    return spread_out + spread * torch.randn(spread_out.shape, generator=generator)


def test_k_means_finds_groups_that_are_apart():
    centers = [[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]]
    fitted = k_means(groups(centers), 3, torch.Generator().manual_seed(0))
    distances = torch.cdist(torch.tensor(centers), fitted)
    assert float(distances.amin(1).max()) < 0.1


def test_k_means_accepts_duplicates():
    assert torch.equal(k_means(torch.ones(4, 2), 3, torch.Generator().manual_seed(0)), torch.ones(3, 2))


def test_clusters_belong_to_classes_and_know_how_far_they_spread():
    points = groups([[0.0, 0.0], [5.0, 0.0]], spread=0.1)
    clusters = Clusters(1, seed=0)
    clusters.fit(points, torch.arange(2).repeat_interleave(20))
    # The third point lies at the other class's center, and is of a class without clusters besides.
    batch, labels = torch.tensor([[0.0, 0.0], [5.0, 1.0], [5.0, 0.0]]), torch.tensor([0, 1, 7])
    before = clusters.variances.clone()
    torch.testing.assert_close(before, torch.full((2, 2), 0.01), rtol=0.8, atol=0)
    share, variances = clusters.observe(batch, labels)
    assert share.tolist() == pytest.approx([1 / 3, 1 / 3])
    assert float(variances[1, 1]) == pytest.approx(0.9 * float(before[1, 1]) + 0.1, rel=0.1)


def test_the_gradient_draws_each_sample_to_the_center_of_its_own_class():
    clusters = Clusters(1, seed=0)
    clusters.fit(groups([[0.0], [4.0]]), torch.arange(2).repeat_interleave(20))
    batch = torch.tensor([[3.0], [3.0]], requires_grad=True)
    share, variances = clusters.observe(batch, torch.tensor([0, 1]))
    (share[:, None] * variances).sum().backward()
    assert batch.grad[0] > 0
    assert batch.grad[1] < 0


def test_variance_that_noise_hides_costs_nothing():
    defense = Cem(sigma=0.2, threshold=0.5)
    hidden = 0.5 * 0.2**2
    costs = defense._excess(torch.tensor([[hidden / 2, hidden], [hidden, 3 * hidden]]))
    assert costs.tolist() == pytest.approx([0, np.log((3 * hidden + GAMMA) / (hidden + GAMMA)) / 2])


def test_it_makes_a_class_vary_less_and_keeps_the_accuracy(monkeypatch):
    monkeypatch.setattr("cutlayer.defenses.cem.BATCH", 16)
    data, halves = shades(1000), small_split(3)
    within = []
    for weight in (0.0, 4.0):
        defense = Cem(weight=weight, sigma=0.1, clusters=2, epochs=4)
        hardened = defense.harden(halves, data, seed=0)
        clean = smashed_of(hardened, data.test)
        assert 0 <= clean.min() <= clean.max() <= 1
        within.append(sum(float(clean[data.test.labels == label].var(axis=0).mean()) for label in (0, 1)))
        assert accuracy(hardened, defense.protect, data) > 0.95
    assert within[1] < 0.8 * within[0]


def test_the_noise_on_the_wire_is_sigma():
    released = Cem(sigma=0.3).protect(np.zeros((50, 4, 10, 10), np.float32), np.random.default_rng(0))
    assert float(released.std()) == pytest.approx(0.3, rel=0.03)
