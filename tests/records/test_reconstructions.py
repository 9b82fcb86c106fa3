import numpy as np
import pytest

from cutlayer.records.reconstructions import Reconstructions, from_arrays, mosaic


def cut(photo: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The tiles of a photograph ``(C, H, W)``, in reading order."""
    return np.stack([tile for row in np.split(photo, rows, 1) for tile in np.split(row, columns, 2)])


PHOTOS = np.random.default_rng(0).random((2, 3, 8, 12)).astype(np.float16)
TILES = np.concatenate([cut(photo, 2, 3) for photo in PHOTOS])


def test_tiles_are_laid_together_to_the_photographs_that_they_were_cut_from():
    np.testing.assert_array_equal(mosaic(TILES, (2, 3)), PHOTOS)
    np.testing.assert_array_equal(mosaic(TILES[:-1], (2, 3)), PHOTOS[:1])


def test_photographs_stand_in_place_of_their_tiles():
    others = np.zeros((5, *TILES.shape[1:]), np.float16)  # private pictures that are no tiles, too few for a photograph
    private = np.concatenate([TILES, others])
    labels = np.array([7] * 6 + [8] * 6 + [9] * 5)
    tiles = Reconstructions(private, labels, np.array([3, 4]), {("zmq", "ridge"): private / 2}, (2, 3))
    whole = from_arrays(tiles.arrays(), "zmq").whole
    np.testing.assert_array_equal(whole.originals, PHOTOS)
    np.testing.assert_array_equal(whole.by("ridge", "zmq"), PHOTOS / 2)
    assert (whole.labels.tolist(), whole.telling.tolist(), whole.tiles) == ([7, 8], [0, 1], None)
    assert whole.whole is whole


@pytest.mark.parametrize("tiles", [(0, 3), (5, 5), (-2, -3)])
def test_tiles_that_make_no_photograph_are_refused(tiles):
    arrays = Reconstructions(TILES, np.zeros(12), np.arange(3)).arrays() | {"tiles": np.array(tiles)}
    with pytest.raises(ValueError, match="photograph"):
        from_arrays(arrays, "zmq")
