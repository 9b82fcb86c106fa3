import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as Reference

from cutlayer.attacks.features import ridge
from cutlayer.attacks.features.mean_image import MeanImage
from cutlayer.attacks.features.ridge import Ridge
from cutlayer.defenses.gaussian_noise import GaussianNoise
from tests.attacks.victims import convolutional_head, error, linear_head


@pytest.mark.parametrize(("samples", "values"), [(90, 20), (30, 50)], ids=["primal", "dual"])
def test_solves_what_scikit_learn_solves(samples, values, monkeypatch):
    monkeypatch.setattr(ridge, "_lowest", lambda error, least: (-1, error(-1)))
    rng = np.random.default_rng(0)
    a, x = (rng.normal(size=(samples, k)).astype(np.float32) for k in (values, 7))
    expected = Reference(alpha=0.1 * samples, fit_intercept=False, solver="cholesky").fit(a, x).coef_.T
    n_fit = samples - samples // 10
    weights, error = ridge.solve(torch.from_numpy(a), torch.from_numpy(x), n_fit)
    np.testing.assert_allclose(weights.numpy(), expected, atol=1e-5)
    part = Reference(alpha=0.1 * n_fit, fit_intercept=False, solver="cholesky").fit(a[:n_fit], x[:n_fit])
    assert error == pytest.approx(np.square(part.predict(a[n_fit:]) - x[n_fit:]).mean(), rel=1e-4)


def test_the_walk_finds_the_valley():
    for bottom in (-9, -5, -3, 0, 3):
        assert ridge._lowest(lambda k, bottom=bottom: 1 + abs(k - bottom), -9) == (bottom, 1)


def test_the_walk_ends_at_what_rounding_allows():
    assert ridge._lowest(lambda k: 10 + k, -4) == (-4, 6)
    assert ridge._lowest(lambda k: 10 + k if k >= -3 else torch.inf, -9) == (-3, 7)


@pytest.mark.parametrize("max_system", [8192, 60], ids=["primal", "dual"])
def test_noise_raises_the_penalty(max_system, make_view, private):
    """The answer to much noise must stay near the mean image, which an unpenalized solution would leave."""
    view = make_view(linear_head(), GaussianNoise(sigma=3.0))
    assert error(Ridge(max_system=max_system), view, private) < 1.1 * error(MeanImage(), view, private)


def test_values_that_never_change_do_no_harm(make_view, private):
    head = convolutional_head()
    head[1].weight.data[:4] = 0
    head[1].bias.data[:4] = 1e-3
    view, attack = make_view(head), Ridge()
    attack.fit(view)
    assert attack.invert(view.query(private)).isfinite().all()
