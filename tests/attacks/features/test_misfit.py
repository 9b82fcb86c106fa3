import pytest
import torch

from cutlayer.attacks.features.misfit import Misfit, difference, scaling, suitable
from cutlayer.defenses.base import Defense
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.laplace_noise import LaplaceNoise
from cutlayer.defenses.quantize import Quantize
from tests.attacks.victims import linear_head, smooth_images


@pytest.mark.parametrize("shape", [(6, 4, 4), (6,), (4, 6), (4, 4, 6)], ids=["image", "vector", "tokens", "swin"])
def test_whitened_responses_have_a_multiple_of_the_identity_for_covariance(shape):
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=generator) * torch.logspace(0, -3, 6)
    axis = shape.index(6) + 1
    response = (torch.randn(400, *shape, generator=generator).movedim(axis, -1) @ mixing).movedim(-1, axis)
    smashed = torch.randn(400, *shape, generator=generator)
    scale = scaling("whitened", smashed, response)
    white = scale(response).movedim(axis, 0).flatten(1)
    covariance = white @ white.T / white.shape[1]
    torch.testing.assert_close(covariance / covariance[0, 0], torch.eye(6), atol=0.01, rtol=0)
    assert scale(smashed).shape == smashed.shape
    assert scale(smashed).var() == pytest.approx(1, rel=1e-4)


def test_each_channel_gets_its_own_unit():
    response = torch.randn(300, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    response *= torch.tensor([9.0, 1, 0.01])[:, None, None]
    scaled = scaling("channel", response, response)(response)
    torch.testing.assert_close(scaled.std(dim=(0, 2, 3)), torch.ones(3), atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", ["plain", "channel", "whitened", "survivors"])
def test_the_scaling_of_a_constant_head_is_finite(kind):
    still = torch.ones(50, 3, 2, 2)
    assert scaling(kind, still, 0 * still)(still).isfinite().all()


@pytest.mark.parametrize("kind", ["channel", "whitened"])
def test_a_channel_that_never_answers_weighs_nothing(kind):
    smashed = torch.randn(50, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    response = smashed.clone()
    response[:, 2] = 0
    weighed = scaling(kind, smashed, response)
    only = torch.zeros(1, 3, 2, 2)
    only[:, 2] = 1
    assert weighed(only).abs().max() < 1e-6
    assert weighed(1 - only).abs().max() > 0.1


def test_survivors_leave_the_defense_out():
    output, arrived = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[0.0, 2.5, 0.0, 4.0]])
    misfit = difference("survivors", output, lambda smashed: smashed * torch.nan, arrived)
    torch.testing.assert_close(misfit, torch.tensor([[0.0, -0.5, 0.0, 0.0]]) * 2**0.5)


def test_the_other_misfits_compare_the_protected_guess():
    output, arrived = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 2.0]])
    assert difference("plain", output, lambda smashed: smashed / 2, arrived).tolist() == [[0.0, -1.0]]


def test_a_misfit_without_survivors_is_zero():
    misfit = difference("survivors", torch.ones(1, 4), lambda smashed: smashed, torch.zeros(1, 4))
    assert misfit.tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("defense", "power"), [(GaussianNoise(sigma=0.5), 2), (LaplaceNoise(scale=0.5, bound="none"), 1)]
)
def test_the_likelihood_measures_differences_as_the_noise_is_spread(defense, power, make_view):
    """Up to a constant: mean squares for Gaussian noise, mean absolute values for Laplacian noise."""
    view = make_view(linear_head(), defense)
    misfit = Misfit(("likelihood",), smooth_images(8, seed=3), view)
    output, arrived = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    expected = ((output - arrived) / 0.5).abs().pow(power).mean(dim=1) * (1 if power == 2 else 2)
    values = misfit("likelihood", output, (arrived,)) - misfit("likelihood", output, (output,))
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=1e-4)


def test_several_releases_are_compared_together(make_view):
    view = make_view(linear_head(), GaussianNoise(sigma=0.5))
    misfit = Misfit(("plain", "likelihood"), smooth_images(8, seed=3), view)
    output, first, second = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0))
    both, *each = (misfit("likelihood", output, seen) for seen in ((first, second), (first,), (second,)))
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)
    torch.testing.assert_close(misfit.unexplained(output, (first, second)), (first + second) / 2 - output)


@pytest.mark.parametrize(
    ("defense", "kinds"),
    [
        (Defense(), ("whitened",)),
        (Quantize(bits=2), ("whitened",)),
        (GaussianNoise(sigma=0.5), ("whitened", "likelihood")),
        (GaussianNoise(sigma=0.5).then(Quantize(bits=2)), ("whitened",)),
    ],
)
def test_a_misfit_suits_the_defense(defense, kinds):
    assert suitable(defense, torch.ones(1, 8)) == kinds


def test_the_cosine_misfit_ignores_the_length_and_nothing_is_as_far_as_a_right_angle(make_view):
    view = make_view(linear_head())
    misfit = Misfit(("cosine",), smooth_images(20, seed=3), view)
    sent = torch.zeros(3, 64)
    sent[0, 0] = sent[1, 1] = 2.0
    arrived = torch.zeros(3, 64)
    arrived[0, 0] = arrived[1, 0] = arrived[2, 0] = 5.0
    assert misfit("cosine", sent, (arrived,)).tolist() == pytest.approx([0, 1, 1])
