import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import metrics as skimage

from cutlayer.metrics.image import PSNR, SSIM, structural_similarity


def pair(n: int = 3, channels: int = 3, height: int = 32, width: int = 32, noise: float = 0.1, seed: int = 0):
    rng = np.random.default_rng(seed)
    smooth = rng.random((n, channels, height, width)).cumsum(2).cumsum(3)
    originals = smooth / smooth.max()
    return np.clip(originals + noise * rng.standard_normal(originals.shape), 0, 1), originals


def scored(metric, x, y):
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    return metric.score(x, y, y).numpy()


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 11, 25)])
def test_scores_are_those_of_scikit_image(shape):
    x, y = pair(4, *shape)
    for i in range(len(x)):
        psnr = skimage.peak_signal_noise_ratio(y[i], x[i], data_range=1)
        assert scored(PSNR, x, y)[i] == pytest.approx(psnr, abs=1e-9)
        ssim = skimage.structural_similarity(
            y[i], x[i], data_range=1, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert scored(SSIM, x, y)[i] == pytest.approx(ssim, abs=1e-9)


def test_a_small_image_gets_the_largest_odd_window_that_fits():
    x, y = pair(1, 1, 8, 9)
    offsets = np.exp(-((np.arange(7) - 3) ** 2) / (2 * (1.5 * 7 / 11) ** 2))
    window = np.outer(offsets, offsets) / offsets.sum() ** 2
    values = []
    for top in range(2):
        for left in range(3):
            a, b = (image[0, 0, top : top + 7, left : left + 7] for image in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            both = (window * (a - mean_a) * (b - mean_b)).sum()
            brightness = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            values.append(brightness * (2 * both + 9e-4) / (var_a + var_b + 9e-4))
    assert scored(SSIM, x, y)[0] == pytest.approx(np.mean(values), abs=1e-9)


def test_ssim_as_a_loss_has_the_right_gradient_and_ignores_autocast():
    x, y = (torch.from_numpy(images) for images in pair(1, 1, 12, 11))
    assert torch.autograd.gradcheck(structural_similarity, (x.requires_grad_(), y.requires_grad_()))
    x, y = (torch.from_numpy(images).float() for images in pair())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.allclose(structural_similarity(x, y), SSIM.score(x, y, y), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), side=st.integers(1, 16), noise=st.floats(0, 2))
def test_ssim_is_within_its_range_and_symmetric(seed, side, noise):
    x, y = pair(2, 1, side, side, noise, seed)
    score = scored(SSIM, x, y)
    assert np.all((score >= -1 - 1e-9) & (score <= 1 + 1e-9))
    assert np.allclose(score, scored(SSIM, y, x))
