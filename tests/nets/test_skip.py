import pytest
import torch

from cutlayer.nets.skip import INPUTS, Level, skip


@pytest.mark.parametrize("image", [(1, 6, 6), (3, 28, 28), (3, 32, 32), (3, 7, 12)])
def test_it_makes_images_of_any_size(image):
    network = skip(image, (4, 6, 8, 10))
    pictures = network(torch.randn(2, INPUTS, *image[1:]))
    assert pictures.shape == (2, *image)
    assert pictures.min() >= 0
    assert pictures.max() <= 1


@pytest.mark.parametrize(("side", "levels"), [(6, 1), (28, 3), (32, 4), (224, 4)])
def test_no_level_is_smaller_than_two_pixels(side, levels):
    network = skip((1, side, side), (2, 2, 2, 2))
    assert sum(isinstance(module, Level) for module in network.modules()) == levels


def test_the_picture_of_an_image_does_not_depend_on_the_others():
    network, z = skip((3, 16, 16), (4, 6)), torch.randn(3, INPUTS, 16, 16)
    torch.testing.assert_close(network(z), torch.cat([network(one[None]) for one in z]), rtol=0, atol=1e-5)
