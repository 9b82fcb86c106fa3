import numpy as np
import pytest

from cutlayer.data.cifar10 import read_batch
from cutlayer.data.load import load
from cutlayer.errors import DataError


@pytest.fixture
def folder(tmp_path):
    batches = tmp_path / "cifar-10-batches-bin"
    batches.mkdir()
    rng = np.random.default_rng(0)
    for name in ("data_batch_1", "data_batch_3", "test_batch"):
        records = rng.integers(256, size=(10, 3073), dtype=np.uint8)
        records[:, 0] = records[:, 1] % 10
        records.tofile(batches / f"{name}.bin")
    return batches


def test_the_training_batches_that_are_there_are_used(folder):
    splits = load("cifar10", folder.parent)
    assert [len(p) for p in (splits.train, splits.auxiliary, splits.private, splits.test)] == [10, 10, 5, 5]
    assert splits.input.shape == (3, 32, 32)
    first_pixel = np.rint(splits.train.images[:, 0, 0, 0] * 255).astype(int)
    assert np.array_equal(first_pixel % 10, splits.train.labels)


def test_pixels_come_channel_by_channel(folder):
    path = folder / "test_batch.bin"
    image = read_batch(path).images[0] * 255
    assert np.array_equal(np.rint(image).ravel(), np.fromfile(path, np.uint8)[1:3073])


@pytest.mark.parametrize("damage", [b"", bytes(3072), bytes([10] + [0] * 3072)])
def test_a_damaged_batch_is_named(folder, damage):
    (folder / "test_batch.bin").write_bytes(damage)
    with pytest.raises(DataError, match=r"test_batch\.bin is damaged"):
        load("cifar10", folder.parent)
