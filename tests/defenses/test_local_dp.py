import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cutlayer.defenses.local_dp import LocalDP, gaussian_epsilon
from cutlayer.defenses.shared.aware import smashed_of
from cutlayer.errors import ConfigError
from tests.defenses.victims import accuracy, rng, shades, small_split


def norms(smashed, mechanism):
    return np.linalg.norm(smashed.reshape(len(smashed), -1), ord={"laplace": 1, "gaussian": 2}[mechanism], axis=1)


each_mechanism = pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])


@each_mechanism
def test_long_samples_are_clipped_to_the_bound_and_short_ones_are_not(mechanism):
    defense = LocalDP(noise=1e-9, mechanism=mechanism, clip=2.0)
    smashed = rng().standard_normal((3, 2, 4)).astype(np.float32)
    smashed *= (np.array([0.5, 1.9, 70.0]) / norms(smashed, mechanism)).astype(np.float32)[:, None, None]
    released = defense.protect(smashed, rng())
    np.testing.assert_allclose(norms(released, mechanism), [0.5, 1.9, 2.0], rtol=1e-5)
    np.testing.assert_allclose(released[:2], smashed[:2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(released[2] * 35, smashed[2], rtol=1e-4, atol=1e-4)
    assert defense.facts(smashed)["clipped_share"] == pytest.approx(1 / 3)


@each_mechanism
def test_a_sample_of_zeros_has_finite_gradients(mechanism):
    smashed = torch.zeros(2, 3, requires_grad=True)
    LocalDP(noise=0.1, mechanism=mechanism, clip=1.0).protect(smashed, rng()).sum().backward()
    assert torch.isfinite(smashed.grad).all()


@pytest.mark.parametrize(("mechanism", "variance"), [("gaussian", 1.0), ("laplace", 2.0)])
def test_the_noise_on_the_wire_is_measured_against_the_diameter_of_the_ball(mechanism, variance):
    defense = LocalDP(noise=0.3, mechanism=mechanism, clip=5.0)
    released = defense.protect(np.zeros((1, 200_000), np.float32), rng())
    assert released.var(dtype=np.float64) == pytest.approx(variance * 3.0**2, rel=0.03)


def test_no_two_inputs_differ_by_more_than_epsilon_in_the_log_density_of_laplace():
    defense = LocalDP(noise=0.25, mechanism="laplace", clip=3.0)
    far = 100 * rng().standard_normal((2, 40)).astype(np.float32)
    first, second = LocalDP(noise=1e-9, mechanism="laplace", clip=3.0).protect(np.stack([far[0], -far[0]]), rng())
    largest = np.abs(first - second).sum() / (0.25 * 2 * 3.0)
    assert largest == pytest.approx(defense.epsilon(1), rel=1e-4)
    assert defense.epsilon(16) == 16 * defense.epsilon(1) == 64


@pytest.mark.parametrize("noise", [0.5, 1.0, 4.0])
def test_the_gaussian_epsilon_gives_delta_back_by_integration(noise):
    epsilon, x = gaussian_epsilon(noise, 1e-4), np.linspace(-60, 60, 2_000_001)
    density, shifted = (np.exp(-(((x - at) / noise) ** 2) / 2) / (noise * math.sqrt(2 * math.pi)) for at in (1, 0))
    delta = np.trapezoid(np.maximum(0, density - np.exp(epsilon) * shifted), x)
    assert delta == pytest.approx(1e-4, rel=1e-3)


def test_epsilon_grows_with_releases_and_survives_weak_noise():
    assert gaussian_epsilon(1.0, 1e-5) == pytest.approx(4.377, abs=1e-3)
    assert LocalDP(noise=4.0).epsilon(16) == gaussian_epsilon(1.0, 1e-5)
    weak = [gaussian_epsilon(noise, 1e-5) for noise in (1e-1, 1e-2, 1e-3, 1e-4)]
    assert all(math.isfinite(e) for e in weak)
    assert weak == sorted(weak)
    assert weak[-1] == pytest.approx(0.5e8, rel=0.01)


def test_the_textbook_formula_would_promise_too_much_at_ten():
    assert gaussian_epsilon(math.sqrt(2 * math.log(1.25e4)) / 10, 1e-4) > 10


def test_the_clip_is_the_median_norm_and_travels():
    halves, data, defense = small_split(), shades(), LocalDP(noise=0.05, epochs=0)
    with pytest.raises(ConfigError, match="harden first"):
        defense.protect(np.ones((1, 2), np.float32), rng())
    assert defense.harden(halves, data, 0) is halves
    expected = np.median(norms(smashed_of(halves, data.train), "gaussian"))
    assert defense.learned["clip"] == pytest.approx(expected, rel=1e-5)
    again = LocalDP(noise=0.05, epochs=0)
    again.deploy(defense.learned, Path())
    assert again.facts(smashed_of(halves, data.test)) == defense.facts(smashed_of(halves, data.test))
    assert "clip=None" in repr(defense)
    assert LocalDP(noise=0.05, clip=2.0).learned == {}


def test_training_behind_it_helps():
    halves, data = small_split(trained_epochs=10), shades()
    defense = LocalDP(noise=0.1, epochs=15)
    hardened = defense.harden(halves, data, 0)
    assert accuracy(hardened, defense.protect, data) > accuracy(halves, defense.protect, data)
    assert accuracy(hardened, defense.protect, data) > 0.8
