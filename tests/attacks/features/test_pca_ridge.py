import pytest
import torch

from cutlayer.attacks.features.mean_image import MeanImage
from cutlayer.attacks.features.pca_ridge import Components, PcaRidge
from cutlayer.attacks.features.ridge import Ridge
from tests.attacks.victims import convolutional_head, error, linear_head


def test_the_components_are_those_of_an_exact_decomposition():
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(80, 5, generator=random) @ torch.randn(5, 30, generator=random)
    standardized = (rows - rows.mean(dim=0)) / rows.std(dim=0, correction=0)
    exact = torch.linalg.svdvals(standardized)[:5]
    scores = Components(rows, 5, seed=0).scores(rows)
    torch.testing.assert_close(scores.norm(dim=0), exact, rtol=1e-4, atol=0)


def test_all_components_are_ridge(make_view, private):
    view = make_view(convolutional_head())
    assert error(PcaRidge(), view, private) == pytest.approx(error(Ridge(), view, private), rel=0.05)


def test_few_components_hold_what_matters(make_view, private):
    """The images are combinations of nine pictures, so nine directions hold everything."""
    view = make_view(linear_head())
    assert error(PcaRidge(components=9), view, private) < 1e-4 * error(MeanImage(), view, private)
    assert error(PcaRidge(components=4), view, private) > 0.1 * error(MeanImage(), view, private)
