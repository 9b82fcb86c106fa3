import pytest
import torch
from torch import nn

from cutlayer.attacks.features.kernel_ridge import KernelRidge, RandomFeatures, Windows
from cutlayer.attacks.features.mean_image import MeanImage
from cutlayer.attacks.features.pca_ridge import PcaRidge
from cutlayer.errors import ConfigError
from tests.attacks.victims import convolutional_head, error, linear_head


class Folded(nn.Module):
    """A head from which no linear map inverts: the distance of each pixel to 1/2, and faintly on which side it is."""

    def forward(self, images):
        return torch.cat([(images - 0.5).abs(), 0.5 + 0.1 * torch.tanh(20 * (images - 0.5))], dim=1)


def test_the_random_features_approximate_the_gaussian_kernel():
    random = torch.Generator().manual_seed(0)
    points = torch.randn(60, 3, generator=random)
    features = RandomFeatures(points, "gaussian", 0.5, 5000, random)
    features._center, features._scale = torch.zeros(()), torch.tensor((2 / 5000) ** 0.5)
    width = 0.5 * (2 * points.var(dim=0).sum()).sqrt()
    kernel = (-torch.cdist(points, points).square() / (2 * width**2)).exp()
    torch.testing.assert_close(features(points) @ features(points).T, kernel, atol=0.1, rtol=0)


def test_random_features_see_what_a_line_does_not(make_view, private):
    view = make_view(Folded())
    assert error(KernelRidge(features=256, window=(1,)), view, private) < 0.7 * error(PcaRidge(), view, private)


def test_is_never_worse_than_the_linear_part_where_features_do_not_help(make_view, private):
    view = make_view(linear_head())
    kernel, linear = KernelRidge(features=64, window=(0,)), PcaRidge()
    assert error(kernel, view, private) == pytest.approx(error(linear, view, private), abs=1e-7)


@pytest.mark.parametrize("width", [0, 3])
@pytest.mark.parametrize(("smashed", "image"), [((4, 3, 3), (1, 6, 6)), ((4, 8, 8), (1, 28, 28)), ((5, 9), (3, 9, 7))])
def test_blocks_are_put_together_as_they_were_cut(width, smashed, image):
    windows, images = Windows(smashed, image, width), torch.rand(5, *image)
    if not windows.possible:
        pytest.skip("a vector has no windows")
    blocks = windows.blocks(images)
    rows = windows.rows(torch.rand(5, *smashed))
    assert rows.shape[:2] == blocks.shape[:2]
    torch.testing.assert_close(windows.assembled(lambda rows: blocks.flatten(0, 1), torch.rand(5, *smashed)), images)


def test_a_window_holds_what_surrounds_its_block():
    windows = Windows((1, 4, 4), (1, 8, 8), 3)
    smashed = torch.arange(16.0).reshape(1, 1, 4, 4)
    images = torch.nn.functional.interpolate(smashed, scale_factor=2)
    assert (windows.blocks(images)[0] == windows.rows(smashed)[0, :, 4:5]).all()


def test_windows_learn_from_fewer_images(make_view, private):
    """A head that treats all places alike is inverted from ten images, place by place."""
    view, whole, windows = make_view(convolutional_head(), n=10), KernelRidge(window=(0,)), KernelRidge(window=(0, 3))
    assert error(windows, view, private) < 0.8 * error(whole, view, private)


def test_a_vector_has_no_windows(make_view):
    with pytest.raises(ConfigError, match="add 0, the whole"):
        KernelRidge(window=(3,)).fit(make_view(linear_head()))


def test_needs_no_more_than_the_mean_image_of_one_image(make_view, private):
    view = make_view(convolutional_head(), n=2)
    assert error(KernelRidge(features=8), view, private) < 3 * error(MeanImage(), view, private)
