import pytest
import torch
from torch.nn.functional import avg_pool2d

from cutlayer.metrics.image import SSIM, contrast_similarity
from cutlayer.metrics.multiscale import MS_SSIM
from cutlayer.nets import _torchvision  # noqa: F401  # piq imports torchvision


def tensors(*shape: int):
    """Smooth images, and noisy copies of them."""
    generator = torch.Generator().manual_seed(0)
    smooth = torch.rand(shape, generator=generator, dtype=torch.double).cumsum(2).cumsum(3)
    originals = smooth / smooth.max()
    noise = 0.2 * torch.randn(shape, generator=generator, dtype=torch.double)
    return (originals + noise).clamp(0, 1), originals


def test_large_gray_images_have_the_score_of_piq():
    from piq import multi_scale_ssim

    x, y = tensors(2, 1, 176, 192)
    expected = multi_scale_ssim(x, y, data_range=1.0, reduction="none")
    assert MS_SSIM.score(x, y, y).tolist() == pytest.approx(expected.tolist(), abs=1e-9)


def test_a_small_image_is_compared_at_the_scales_that_leave_room_for_the_window():
    x, y = tensors(2, 1, 28, 31)
    whole, contrast = SSIM.score(avg_pool2d(x, 2), avg_pool2d(y, 2), y), contrast_similarity(x, y)
    first, second = (exponent * 1.0001 / (0.0448 + 0.2856) for exponent in (0.0448, 0.2856))
    assert torch.allclose(MS_SSIM.score(x, y, y), contrast**first * whole**second)
    x, y = tensors(2, 1, 21, 40)
    assert torch.equal(MS_SSIM.score(x, y, y), SSIM.score(x, y, y))


def test_the_opposite_is_not_taken_for_a_likeness():
    (_, y) = tensors(2, 1, 32, 32)
    assert MS_SSIM.score(1 - y, y, y).tolist() == [0, 0]
