"""The densities that defenses state, against torch.distributions and against what they release."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.distributions import Laplace, Normal

from cutlayer.defenses.base import Defense
from cutlayer.defenses.cem import Cem
from cutlayer.defenses.certified_noise import CertifiedNoise
from cutlayer.defenses.dropout import Dropout
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.laplace_noise import LaplaceNoise
from cutlayer.defenses.local_dp import LocalDP
from cutlayer.defenses.mid import Mid
from cutlayer.defenses.quantize import Quantize
from cutlayer.defenses.shared import density as module
from cutlayer.defenses.shared.density import Density
from cutlayer.defenses.shredder import Shredder
from cutlayer.defenses.top_k import TopK
from tests.defenses.victims import rng

M, SHAPE = 6, (4, 3, 2)
STATED = [
    GaussianNoise(sigma=0.5),
    GaussianNoise(sigma=0.5, bound="tanh"),
    LaplaceNoise(scale=0.5),
    LocalDP(noise=0.2, clip=2.0),
    LocalDP(noise=0.2, clip=9.0, mechanism="laplace"),
    Mid(),
    Cem(sigma=0.3),
    CertifiedNoise(sigma=0.3),
    TopK(sparsity=0.5).then(LaplaceNoise(scale=0.3)),
    GaussianNoise(sigma=0.3).then(GaussianNoise(sigma=0.4)),
    Mid().then(GaussianNoise(sigma=0.4)),
]
BOUNDS = [
    LaplaceNoise(scale=0.3).then(Quantize(bits=2)),
    GaussianNoise(sigma=0.3).then(LocalDP(noise=0.2, clip=2.0)),
    GaussianNoise(sigma=0.3).then(TopK(sparsity=0.5)).then(GaussianNoise(sigma=0.3)),
    GaussianNoise(sigma=0.3).then(Dropout(rate=0.5)),
]
UNKNOWN = [
    Defense(),
    TopK(sparsity=0.5),
    GaussianNoise(sigma=0.0),
    Cem(sigma=0.0),
    Mid(beta=0.0),
    Dropout(rate=0.5),
    Shredder(scale=0.5),
    Dropout(rate=0.5).then(GaussianNoise(sigma=0.3)),
    TopK(sparsity=0.5).then(Quantize(bits=1)),
]


def smashed(dtype=np.float32):
    return rng(3).normal(size=(M, *SHAPE)).astype(dtype)


def tensors(density):
    return tuple(torch.as_tensor(value, dtype=torch.float64) for value in (density.mean, density.scale))


@pytest.mark.parametrize("defense", [*STATED, *BOUNDS], ids=repr)
def test_the_log_density_is_that_of_torch(defense):
    density = defense.density(smashed())
    mean, scale = tensors(density)
    of_element = {"gaussian": Normal, "laplace": Laplace}[density.family](mean, scale.expand_as(mean))
    released = density.draw(3, torch.Generator().manual_seed(0))
    wanted = torch.stack([of_element.log_prob(row).flatten(1).sum(1) for row in released[0].double()])
    torch.testing.assert_close(density.log_density(released[0]), wanted, rtol=1e-9, atol=1e-9)
    together = sum(density.log_density(release) for release in released)
    torch.testing.assert_close(density.log_density_of_releases(released), together, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        density.log_density_of_own(released[0].double()), wanted.diagonal(), rtol=1e-6, atol=1e-4
    )


@pytest.mark.parametrize("defense", STATED, ids=repr)
def test_what_is_released_follows_the_density(defense):
    """The first two absolute moments of the standardized releases agree, and elements are not correlated."""
    density, generator, n = defense.density(smashed()), rng(5), 400
    assert density.exact
    mean, scale = tensors(density)
    drawn = torch.from_numpy(np.stack([defense.protect(smashed(), generator) for _ in range(n)])).double()
    for releases in (drawn, density.draw(n, torch.Generator().manual_seed(0)).double()):
        noise = (releases - mean) / scale
        first, second = {"gaussian": ((2 / np.pi) ** 0.5, 1.0), "laplace": (1.0, 2.0)}[density.family]
        sign = noise.sign().mean().abs()
        assert sign < 5 / noise.numel() ** 0.5
        assert noise.abs().mean() == pytest.approx(first, abs=6 / noise.numel() ** 0.5)
        assert noise.square().mean() == pytest.approx(second, abs=6 * 4.5 / noise.numel() ** 0.5)
        rows = noise.flatten(1)
        assert abs(float((rows[:, 1:] * rows[:, :-1]).mean())) < 6 * second / noise.numel() ** 0.5


@pytest.mark.parametrize("defense", BOUNDS, ids=repr)
def test_what_follows_noise_makes_its_density_a_bound(defense):
    density = defense.density(smashed())
    assert not density.exact
    assert np.array_equal(density.mean, smashed())


@pytest.mark.parametrize("defense", UNKNOWN, ids=repr)
def test_no_density_where_none_is_known(defense):
    assert defense.density(smashed()) is None


def test_nothing_is_lost_where_numbers_are_large_and_noise_is_small(monkeypatch):
    """Candidates a thousandth of the noise apart, on top of numbers a million times the noise, in parts."""
    monkeypatch.setattr(module, "VALUES", 100)
    base = 1e3 + rng(1).normal(size=SHAPE)
    mean = base + 1e-6 * rng(2).normal(size=(M, *SHAPE))
    density = Density("gaussian", mean, 1e-3)
    released = torch.from_numpy(mean + 1e-3 * rng(4).normal(size=mean.shape))
    wanted = torch.stack([Normal(torch.from_numpy(mean), 1e-3).log_prob(row).flatten(1).sum(1) for row in released])
    found = density.log_density(released)
    torch.testing.assert_close(found - found[:, :1], wanted - wanted[:, :1], rtol=1e-5, atol=1e-9)


def test_scales_of_elements_and_of_inputs():
    """A scale may be one number, one for each element, or one for each element of each input."""
    mean, released = torch.from_numpy(smashed()), torch.from_numpy(smashed()) + 0.1
    for scale in (0.7, np.full((4, 1, 1), 0.7), torch.full(SHAPE, 0.7), torch.full((1, *SHAPE), 0.7)):
        density = Density("gaussian", mean, scale)
        assert density.same_scale
        torch.testing.assert_close(
            density.log_density(released), Density("gaussian", mean, 0.7).log_density(released), rtol=1e-6, atol=1e-6
        )
    wide = Density("gaussian", mean, 0.5 + torch.rand((M, *SHAPE), generator=torch.Generator().manual_seed(0)))
    assert not wide.same_scale
    with pytest.raises(ValueError, match="same for all inputs"):
        Density("laplace", mean, wide.scale).log_density(released)


def test_gradients_flow_to_the_input():
    images = torch.from_numpy(smashed()).requires_grad_()
    for defense in STATED:
        density = defense.density(images * 2)
        (gradient,) = torch.autograd.grad(density.log_density_of_own(density.mean.detach() + 0.1).sum(), images)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0


def test_the_device_states_a_density_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from cutlayer.defenses.mid import Mid\n"
        "from cutlayer.defenses.local_dp import LocalDP\n"
        "for defense in (Mid(), LocalDP(noise=0.1, clip=1.0)):\n"
        "    assert defense.density(np.ones((2, 4, 3, 3), np.float32)).exact\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
