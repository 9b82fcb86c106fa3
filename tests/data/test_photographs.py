import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from cutlayer.data import photographs
from cutlayer.data.photos import photograph
from cutlayer.records.reconstructions import mosaic


@pytest.fixture(scope="module")
def splits():
    return photographs.load(None, 0)


def test_the_private_part_begins_with_whole_photographs(splits):
    rows, columns = splits.tiles
    n_tiles = rows * columns * len(photographs.UNSEEN)
    assert splits.classes[-3:] == ("face", "cat", "cup")
    assert splits.private.labels[:n_tiles].tolist() == np.repeat([6, 7, 8], rows * columns).tolist()
    whole = mosaic(splits.private.inputs[:n_tiles], (rows, columns))
    for photo, (name, top, left, side) in zip(whole, photographs.UNSEEN.values(), strict=True):
        square = photograph(name)[top : top + side, left : left + side]
        expected = photographs.scaled(square, *photo.shape[1:])
        np.testing.assert_array_equal(photo, expected.transpose(2, 0, 1))
        # Scaling leaves the mean color of every part alone, and so moves nothing.
        quarters = [np.mean(part, axis=(0, 1)) for image in (square, expected) for part in quartered(image)]
        np.testing.assert_allclose(quarters[:4], quarters[4:], atol=0.01)


def quartered(image: np.ndarray) -> list[np.ndarray]:
    return [part for half in np.array_split(image, 2) for part in np.array_split(half, 2, axis=1)]


def test_the_private_photographs_are_in_no_other_part(splits):
    assert not {name for name, *_ in photographs.UNSEEN.values()} & set(photographs.KNOWN.values())
    for part in (splits.train, splits.auxiliary, splits.test):
        assert np.bincount(part.labels).tolist() == [len(part) // len(photographs.KNOWN)] * len(photographs.KNOWN)


def test_the_candidates_are_crops_of_the_private_photographs(splits):
    first = len(splits.private) - photographs.CANDIDATES
    crops, labels = splits.private.inputs[first:], splits.private.labels[first:]
    for label, (name, top, left, side) in enumerate(photographs.UNSEEN.values(), len(photographs.KNOWN)):
        crop = crops[labels == label][0]
        windows = sliding_window_view(photograph(name)[top : top + side, left : left + side], (32, 32), axis=(0, 1))
        corner = np.argwhere((windows[:, :, :, 0, 0] == crop[:, 0, 0]).all(-1))
        assert any(np.array_equal(windows[y, x], crop) for y, x in corner)
