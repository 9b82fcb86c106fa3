import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from cutlayer.defenses.mid import Mid, distribution, divergence
from cutlayer.defenses.shared.aware import smashed_of
from cutlayer.errors import SplitError
from cutlayer.models.halves import split
from tests.defenses.victims import IMAGE, accuracy, shades, small_split


def given(n=3, mean=1.5, s=5.0):
    """What a head gives: mean and s, the same everywhere."""
    return np.concatenate([np.full((n, 2, 8, 8), value, np.float32) for value in (mean, s)], axis=1)


def test_the_divergence_is_that_of_normal_distributions():
    numbers = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    mean, std = distribution(numbers)
    torch.testing.assert_close(std, torch.nn.functional.softplus(numbers[:, 3:] - 5))
    expected = kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum() / 4
    assert float(divergence(mean, std)) == pytest.approx(float(expected), rel=1e-5)
    on_device = divergence(*distribution(numbers.numpy()))
    assert float(on_device) == pytest.approx(float(expected), rel=1e-5)


def test_what_leaves_is_a_sample_of_the_distribution():
    n, std = 20_000, math.log(2)  # softplus(0)
    sample = Mid().protect(given(n // 128 + 1), np.random.default_rng(0)).ravel().astype(np.float64)
    assert abs(sample.mean() - 1.5) < 4 * std / math.sqrt(n)
    assert abs(sample.var() / std**2 - 1) < 4 * math.sqrt(2 / n)


def test_averaging_releases_brings_back_the_mean():
    rng = np.random.default_rng(0)
    mean_of_64 = sum(Mid().protect(given(50), rng) for _ in range(64)) / 64
    assert float(np.std(mean_of_64)) == pytest.approx(math.log(2) / 8, rel=0.05)


def test_before_training_the_mean_is_the_smashed_data():
    data, halves = shades(8), small_split()
    prepared = Mid().surgery(halves)
    mean, std = distribution(smashed_of(prepared, data.test))
    np.testing.assert_allclose(mean, smashed_of(halves, data.test), atol=1e-6)
    np.testing.assert_allclose(std, math.log(2), rtol=1e-5)
    assert prepared.smashed.shape == halves.smashed.shape
    assert prepared.smashed.low is None


def test_the_greater_beta_the_less_the_release_says():
    data, halves = shades(1000), small_split(3)
    bits = []
    for beta in (1e-4, 1e-3, 1e-2):
        defense = Mid(beta=beta, epochs=6)
        hardened = defense.harden(halves, data, seed=0)
        facts = defense.facts(smashed_of(hardened, data.test))
        bits.append(facts["bits_at_most"])
        assert math.isfinite(facts["snr_db"])
        assert accuracy(hardened, defense.protect, data) > 0.95
    assert bits[0] > 1.2 * bits[1] > 1.4 * bits[2]


def test_smashed_data_without_channels_is_refused():
    halves = small_split()
    flat = split(torch.nn.Sequential(halves.head, halves.tail), "1.3", IMAGE)
    with pytest.raises(SplitError, match="mid needs smashed data"):
        Mid().surgery(flat)
