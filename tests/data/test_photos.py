import numpy as np
import pytest

from cutlayer.data import photos


def usable(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((height - photos.SIDE + 1, width - photos.SIDE + 1)) < 0.8


@pytest.mark.parametrize("size", [(300, 451), (427, 640), (48, 400)])
def test_no_pixel_of_a_photograph_is_in_two_parts(size):
    owners = photos.corner_owners(usable(*size), np.random.default_rng(0))
    touched = np.zeros((len(photos.COUNTS), *size), bool)
    for part in range(len(photos.COUNTS)):
        for top, left in np.argwhere(owners == part):
            touched[part, top : top + photos.SIDE, left : left + photos.SIDE] = True
        assert touched[part].any()
    assert touched.sum(axis=0).max() == 1
    assert (owners[~usable(*size)] == -1).all()


def test_another_seed_deals_the_cells_otherwise():
    a, b = (photos.corner_owners(usable(300, 451), np.random.default_rng(seed)) for seed in (0, 1))
    assert (a != b).any()


def test_the_few_cells_that_show_something_are_shared_out():
    only_corner = usable(480, 480)
    only_corner[96:] = only_corner[:, 192:] = False
    owners = photos.corner_owners(only_corner, np.random.default_rng(0))
    assert set(np.unique(owners)) == {-1, 0, 1, 2, 3}


@pytest.mark.parametrize("seed", range(3))
def test_every_photograph_gives_every_part_its_share(seed):
    splits = photos.load(None, seed)
    for part, n in photos.COUNTS.items():
        data = getattr(splits, part)
        assert np.bincount(data.labels).tolist() == [n // len(photos.PHOTOS)] * len(photos.PHOTOS)
        assert data.inputs.mean(axis=1).std(axis=(1, 2)).min() > photos.LEAST_CONTRAST - 1e-3


def test_a_crop_carries_the_label_of_the_photograph_that_it_is_cut_from():
    splits = photos.load(None, 0)
    for label, name in enumerate(splits.classes):
        crop = splits.private.inputs[splits.private.labels == label][0].transpose(1, 2, 0)
        windows = np.lib.stride_tricks.sliding_window_view(photos.photograph(photos.PHOTOS[name]), crop.shape)
        corner = np.argwhere((windows[:, :, 0, 0, 0] == crop[0, 0]).all(-1))
        assert any(np.array_equal(windows[y, x, 0], crop) for y, x in corner)
