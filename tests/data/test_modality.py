import numpy as np
import pytest

from cutlayer.data.modality import IMAGE


def test_the_most_telling_images_are_those_with_most_contrast_in_their_order():
    flat, some, most = (np.linspace(0.5 - reach, 0.5 + reach, 12).reshape(3, 2, 2) for reach in (0, 0.1, 0.5))
    assert IMAGE.most_telling(np.stack([most, flat, some, most]), 3).tolist() == [0, 2, 3]
    assert IMAGE.most_telling(np.stack([flat, some]), 3).tolist() == [0, 1]


def test_an_image_is_drawn_as_bytes_rounded_to_the_nearest():
    pixels = IMAGE.pixels(np.array([0, 0.5 / 255, 0.6 / 255, 0.2, 1], np.float32))
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == [0, 0, 1, 51, 255]


def test_the_specification_of_an_image_is_its_shape_and_range():
    spec = IMAGE.spec(3, 8, 9)
    assert (spec.shape, spec.dtype, spec.low, spec.high) == ((3, 8, 9), "float32", 0.0, 1.0)
    with pytest.raises(TypeError):
        IMAGE.spec(8, 9)
