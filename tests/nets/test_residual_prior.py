import pytest
import torch

from cutlayer.nets.residual_prior import ResidualPrior, cosines


@pytest.fixture
def residuals():
    """Residuals whose lower half is four times as large, and which are smooth along the rows."""
    white = torch.randn(500, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    smooth = (white + white.roll(1, 3) + white.roll(-1, 3)) / 3
    smooth[:, :, 4:] *= 4
    return 0.1 * smooth


def test_the_cosine_transform_is_orthonormal():
    torch.testing.assert_close(cosines(7) @ cosines(7).T, torch.eye(7), atol=1e-6, rtol=0)


def test_coefficients_and_images_are_inverse(residuals):
    prior = ResidualPrior(residuals)
    torch.testing.assert_close(prior.image(prior.coefficients(residuals)), residuals, atol=1e-5, rtol=0)


def test_coefficients_of_residuals_are_white(residuals):
    coefficients = ResidualPrior(residuals).coefficients(residuals)
    assert coefficients.square().mean().item() == pytest.approx(1, rel=0.05)


def test_it_knows_where_and_in_which_frequencies_the_errors_are(residuals):
    prior = ResidualPrior(residuals)
    drawn = prior.image(torch.randn(2000, 3, 8, 10, generator=torch.Generator().manual_seed(1)))
    spread, wanted = drawn.std(dim=(0, 1, 3)), residuals.std(dim=(0, 1, 3))
    torch.testing.assert_close(spread[7] / spread[0], wanted[7] / wanted[0], rtol=0.1, atol=0)
    neighbors = (drawn[..., 1:] * drawn[..., :-1]).mean() / drawn.square().mean()
    apart = (drawn[:, :, 1:] * drawn[:, :, :-1]).mean() / drawn.square().mean()
    assert neighbors > 0.4 > 0.1 > apart


def test_residuals_that_are_zero_have_a_finite_prior():
    prior = ResidualPrior(torch.zeros(3, 1, 2, 2))
    assert prior.image(torch.ones(1, 1, 2, 2)).isfinite().all()
