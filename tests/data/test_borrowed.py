from dataclasses import replace

import numpy as np
import pytest

from cutlayer.data.borrowed import borrowed
from cutlayer.data.modality import TABLE
from cutlayer.data.splits import NO_CLASS, Dataset, Splits
from cutlayer.errors import ConfigError


def splits(shape, classes=("a", "b"), seed=0, **options):
    inputs = np.random.default_rng(seed).random((4, *shape), np.float32)
    part = Dataset(inputs, np.array([0, 1, 0, 1]), **options)
    return Splits("some", classes, part, part, part, part)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("own", [1, 3])
def test_takes_the_form_of_the_victims_images(channels, own):
    part = borrowed(splits((channels, 8, 12)), splits((own, 6, 6)))
    assert part.inputs.shape == (4, own, 6, 6)
    assert part.inputs.dtype == np.float32
    assert 0 <= part.inputs.min() <= part.inputs.max() <= 1


def test_colors_become_their_luma_and_gray_every_color():
    color = splits((3, 4, 4))
    gray = borrowed(color, splits((1, 4, 4))).inputs[:, 0]
    np.testing.assert_allclose(gray, np.tensordot([0.299, 0.587, 0.114], color.auxiliary.inputs, (0, 1)), atol=1e-6)
    repeated = borrowed(splits((1, 4, 4)), color).inputs
    np.testing.assert_array_equal(repeated[:, 0], repeated[:, 2])


def test_classes_stay_only_where_they_are_the_same():
    data = splits((1, 4, 4))
    assert borrowed(splits((1, 4, 4)), data).labels.tolist() == [0, 1, 0, 1]
    assert (borrowed(splits((1, 4, 4), classes=("c", "d")), data).labels == NO_CLASS).all()


def test_refuses_what_is_no_image():
    with pytest.raises(ConfigError, match="1 or 3 channels"):
        borrowed(splits((7,), modality=TABLE), splits((1, 4, 4)))
    with pytest.raises(ConfigError, match="1 or 3 channels"):
        borrowed(splits((2, 4, 4)), splits((1, 4, 4)))


def test_the_floor_stays_that_of_the_victims():
    data = splits((1, 4, 4))
    other = replace(data, auxiliary=splits((1, 4, 4), seed=1).auxiliary, usual=data.floor)
    np.testing.assert_array_equal(other.floor, data.auxiliary.inputs.mean(axis=0))
    np.testing.assert_array_equal(other.loaded().floor, data.floor)
