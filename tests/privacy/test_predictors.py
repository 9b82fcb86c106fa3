"""The cheap numbers, against a linear head for which each is known."""

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.defenses.base import Defense
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.laplace_noise import LaplaceNoise
from cutlayer.defenses.local_dp import LocalDP
from cutlayer.defenses.quantize import Quantize
from cutlayer.privacy.predictors import predictors

N, PIXELS = 2000, 36
SPREAD = np.linspace(0.02, 0.2, PIXELS)
RNG = np.random.default_rng(0)
ROTATION = np.linalg.qr(RNG.normal(size=(PIXELS, PIXELS)))[0]
IMAGES = (0.5 + (RNG.normal(size=(N, PIXELS)) * SPREAD) @ ROTATION).astype(np.float32).reshape(N, 1, 6, 6)


def linear(gain=1.0):
    """A head that rotates the picture and multiplies it."""
    head = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, PIXELS, bias=False))
    head[1].weight.data = torch.from_numpy(gain * np.linalg.qr(RNG.normal(size=(PIXELS, PIXELS)))[0]).float()
    return head.eval()


@pytest.mark.parametrize("sigma", [0.05, 0.3])
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_a_rotation_behind_gaussian_noise(gain, sigma):
    """It is the picture with noise, whose best estimate and information are textbook formulas."""
    found = predictors(linear(gain), GaussianNoise(sigma=sigma), IMAGES, seed=0)
    noise, signal = (sigma / gain) ** 2, SPREAD**2
    assert found.dfil == pytest.approx(1 / noise, rel=1e-4)
    best = (signal * noise / (signal + noise)).sum() / signal.sum()
    assert found.van_trees == pytest.approx(1 - best, abs=0.02)
    nats = np.log(1 + signal / noise).sum() / 2
    assert found.nats == pytest.approx(nats, rel=0.02)
    # The entropy that is left, as if it were alike in every direction.
    left = PIXELS * np.exp(np.log(signal).mean() - 2 * nats / PIXELS)
    assert found.conditional_entropy == pytest.approx(1 - left / signal.sum(), abs=0.02)
    assert found.van_trees < found.conditional_entropy, "the former is the exact one here"


def test_laplace_noise_of_one_scale_has_the_information_of_gaussian_noise_of_that_sigma():
    laplace, gaussian = (
        predictors(linear(), noise, IMAGES, seed=0) for noise in (LaplaceNoise(scale=0.2), GaussianNoise(sigma=0.2))
    )
    assert laplace.dfil == pytest.approx(gaussian.dfil, rel=1e-5)
    assert laplace.nats < gaussian.nats, "its variance is twice as large"


def test_a_scale_that_depends_on_the_picture_tells_something_of_it():
    class Louder(Defense):
        def density(self, smashed):
            density = GaussianNoise(sigma=0.1).density(smashed * 0)
            return type(density)("gaussian", density.mean, 0.1 * smashed.exp())

    # The scale's logarithm has derivative 1: I = 2 for each number.
    assert predictors(linear(), Louder(), IMAGES, seed=0).dfil == pytest.approx(2, rel=1e-4)


def test_what_stands_before_the_noise_counts():
    """A clip of the norm leaves out one direction of every picture, and makes all others fainter."""
    free = predictors(linear(), GaussianNoise(sigma=0.1), IMAGES, seed=0)
    clipped = predictors(linear(), LocalDP(noise=0.05, clip=1.0), IMAGES, seed=0)
    assert clipped.dfil < 0.5 * free.dfil


@pytest.mark.parametrize("defense", [Defense(), Quantize(bits=2), GaussianNoise(sigma=0.0)], ids=repr)
def test_none_without_noise(defense):
    assert predictors(linear(), defense, IMAGES, seed=0) is None
