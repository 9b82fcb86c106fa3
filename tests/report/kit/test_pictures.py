import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from cutlayer.report.kit.pictures import choose, strip


def decoded(markup):
    data = re.search(r"base64,([^\"]+)", markup).group(1)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pixels_of_a_strip_are_those_of_the_images(channels):
    images = np.random.default_rng(0).integers(0, 256, (5, channels, 8, 6), dtype=np.uint8)
    sheet = decoded(strip(images, [3, 1], "two"))
    for left, index in ((0, 3), (7, 1)):
        tile = sheet[:, left : left + 6]
        assert (tile[..., 3] == 255).all()
        assert (tile[..., :3] == np.broadcast_to(images[index].transpose(1, 2, 0), (8, 6, 3))).all()
    assert (sheet[:, 6, 3] == 0).all()


def test_the_alternative_text_is_escaped():
    assert 'alt="&lt;b&gt;&quot;"' in strip(np.zeros((1, 1, 8, 8), np.uint8), [0], '<b>"')


def test_one_of_each_class_is_shown_before_a_second_of_any():
    assert choose(np.array([0, 0, 0, 1, 1, 2]), 6, 3) == [0, 3, 5]
    assert choose(np.array([0, 0, 0, 1, 1, 2]), 6, 4) == [0, 1, 3, 5]
    assert choose(np.zeros(0, np.int64), 3, 8) == [0, 1, 2]
