import math

import numpy as np
import pytest
import torch

from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.laplace_noise import LaplaceNoise
from cutlayer.defenses.shared.aware import adapt, smashed_of
from cutlayer.errors import ConfigError
from tests.defenses.victims import accuracy, rng, shades, small_split

NOISES = [GaussianNoise(sigma=0.5), LaplaceNoise(scale=0.5)]
each_noise = pytest.mark.parametrize("noise", NOISES, ids=repr)


@each_noise
def test_shape_and_dtype_stay_and_the_input_is_not_written_to(noise):
    for dtype in (np.float32, np.float64):
        smashed = np.ones((2, 3, 4, 4), dtype)
        released = noise.protect(smashed, rng())
        assert released.shape == smashed.shape
        assert released.dtype == dtype
        assert np.isfinite(released).all()
        assert (smashed == 1).all()


@each_noise
def test_each_release_and_each_element_has_noise_of_its_own(noise):
    generator, smashed = rng(), np.zeros((2, 50), np.float32)
    first, second = noise.protect(smashed, generator), noise.protect(smashed, generator)
    assert len(np.unique(np.concatenate([first, second]))) == 200


@each_noise
def test_gradients_flow_through(noise):
    smashed = torch.ones(2, 3, requires_grad=True)
    noise.protect(smashed, rng()).sum().backward()
    assert torch.equal(smashed.grad, torch.ones(2, 3))


@pytest.mark.parametrize(
    ("noise", "std", "fourth_over_square"),
    [(GaussianNoise(sigma=0.7), 0.7, 3), (LaplaceNoise(scale=0.7), 0.7 * math.sqrt(2), 6)],
    ids=repr,
)
def test_the_noise_on_the_wire_has_the_stated_strength_and_shape(noise, std, fourth_over_square):
    n = 400_000
    sample = noise.protect(np.zeros(n, np.float32), rng()).astype(np.float64)
    kurtosis = np.mean(sample**4) / np.mean(sample**2) ** 2
    assert abs(sample.mean()) < 4 * std / math.sqrt(n)
    assert abs(sample.var() / std**2 - 1) < 4 * math.sqrt((fourth_over_square - 1) / n)
    assert kurtosis == pytest.approx(fourth_over_square, rel=0.05)
    assert abs(np.corrcoef(sample[:-1], sample[1:])[0, 1]) < 4 / math.sqrt(n)


def test_without_noise_aware_epochs_the_model_stays_as_it_is():
    halves, data = small_split(), shades()
    assert GaussianNoise(sigma=0.5).harden(halves, data, 0) is halves


def test_noise_aware_training_helps_the_tail_and_touches_nothing_else():
    halves, data = small_split(), shades()
    head, tail = ({k: v.clone() for k, v in half.state_dict().items()} for half in (halves.head, halves.tail))
    noise = GaussianNoise(sigma=0.2, noise_aware_epochs=30)
    hardened = noise.harden(halves, data, 0)

    assert all(torch.equal(v, halves.head.state_dict()[k]) for k, v in head.items())
    assert all(torch.equal(v, halves.tail.state_dict()[k]) for k, v in tail.items())
    assert hardened.head is halves.head
    assert not any(module.training for half in (hardened.head, hardened.tail) for module in half.modules())

    accuracies = [accuracy(model, noise.protect, data) for model in (halves, hardened)]
    assert accuracies[1] > max(0.8, accuracies[0])


LIMITS = {"tanh": (-1, 1), "sigmoid": (0, 1), "clip": (-1, 1)}


@pytest.mark.parametrize("bound", LIMITS)
def test_a_bounded_head_cannot_out_scale_the_noise(bound):
    halves, data = small_split(), shades()
    noise = GaussianNoise(sigma=0.5, noise_aware_epochs=20, bound=bound)
    hardened = noise.harden(halves, data, 0)
    low, high = LIMITS[bound]
    assert (hardened.smashed.low, hardened.smashed.high) == (low, high)
    smashed = hardened.head(1000 * torch.from_numpy(data.test.inputs)).detach()
    assert low <= smashed.min() < smashed.max() <= high
    assert not torch.equal(hardened.head.get_parameter("0.weight"), halves.head.get_parameter("0.weight"))
    assert accuracy(hardened, noise.protect, data) > 0.8


def test_an_unbounded_head_out_scales_the_noise():
    halves, data = small_split(), shades()
    noise = GaussianNoise(sigma=2.0)
    ratios = []
    for model in (halves, adapt(halves, noise.protect, data, epochs=20, seed=0, head_too=True)):
        ratios.append(noise.facts(smashed_of(model, data.test))["snr_db"])
    assert ratios[1] > ratios[0] + 1


@pytest.mark.parametrize("bound", LIMITS)
def test_a_bound_starts_close_to_the_trained_model(bound):
    halves, data = small_split(trained_epochs=10), shades()
    hardened = GaussianNoise(sigma=1e-6, bound=bound).harden(halves, data, 0)
    images = torch.from_numpy(data.test.inputs)
    smashed, scale = halves.head(images), 1 / hardened.head.get_submodule("scale").factor
    assert scale == pytest.approx(2 * smashed.square().mean().sqrt().item(), rel=1e-3)
    undone = hardened.tail.get_submodule("scale")(hardened.head(images))
    small = smashed < 0.3 * scale
    torch.testing.assert_close(undone[small], smashed[small], rtol=0.1, atol=1e-5)
    if bound == "clip":
        torch.testing.assert_close(undone, smashed.clamp(max=scale), rtol=1e-5, atol=1e-6)
    assert accuracy(hardened, lambda z, rng: z, data) > accuracy(halves, lambda z, rng: z, data) - 0.15


def test_the_signal_to_noise_ratio_counts_only_variation_between_inputs():
    smashed = 100 + 2 * rng().standard_normal((20_000, 3)).astype(np.float32)
    assert GaussianNoise(sigma=0.2).facts(smashed)["snr_db"] == pytest.approx(20, abs=0.1)
    assert LaplaceNoise(scale=0.2).facts(smashed)["snr_db"] == pytest.approx(20 - 10 * math.log10(2), abs=0.1)
    assert GaussianNoise(sigma=0.0).facts(smashed) == {}
    assert GaussianNoise(sigma=0.2).facts(smashed[:1]) == {}


def test_a_second_bound_is_refused():
    with pytest.raises(ConfigError, match="bounds the smashed data already"):
        GaussianNoise(sigma=0.5, bound="tanh").then(LaplaceNoise(scale=0.5, bound="clip")).surgery(small_split())
