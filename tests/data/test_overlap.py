from dataclasses import replace

import numpy as np
import pytest

from cutlayer.data.overlap import apart, check_apart, shared
from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import DataError


def part(seed, n=20):
    images = np.random.default_rng(seed).random((n, 1, 4, 4), dtype=np.float32)
    return Dataset(images, np.arange(n, dtype=np.int64))


@pytest.fixture
def overlapping():
    """Auxiliary images 3 and 7 are the private images 0 and 12; image 9 has the pixels of one in another order."""
    data = Splits("toy", ("one",), part(1), part(2), part(3), part(4))
    images = data.auxiliary.inputs
    images[3], images[7] = data.private.inputs[0], data.private.inputs[12]
    images[9] = data.private.inputs[1][:, ::-1]
    return data


def test_pixel_for_pixel_and_among_the_private_ones_that_are_attacked(overlapping):
    assert np.flatnonzero(shared(overlapping)).tolist() == [3, 7]
    assert np.flatnonzero(shared(overlapping, 12)).tolist() == [3]


def test_an_overlap_is_refused_with_its_count(overlapping):
    with pytest.raises(DataError, match=r"2 of 20 auxiliary inputs of toy are private inputs too"):
        check_apart(overlapping)
    check_apart(replace(overlapping, auxiliary=overlapping.auxiliary.take(3)))


def test_what_was_published_twice_is_left_out_and_said(overlapping):
    data = apart(overlapping)
    assert data.auxiliary.labels.tolist() == [i for i in range(20) if i not in (3, 7)]
    assert "2 auxiliary images equal a private one" in data.notes[0]
    assert apart(data) is data
