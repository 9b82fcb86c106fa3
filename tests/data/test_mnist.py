import gzip
import struct

import numpy as np
import pytest

from cutlayer.data.load import load
from cutlayer.data.mnist import read_idx
from cutlayer.errors import DataError


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, n in (("train", 20), ("t10k", 10)):
        images = rng.integers(256, size=(n, 28, 28), dtype=np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx((images[:, 0, 0] % 10).astype(np.uint8))))
    return raw


def test_plain_and_gzipped_files_are_read_and_halved(folder):
    splits = load("mnist", folder.parent.parent)
    assert [len(p) for p in (splits.train, splits.auxiliary, splits.private, splits.test)] == [10, 10, 5, 5]
    for part in (splits.train, splits.test):
        first_pixel = np.rint(part.inputs[:, 0, 0, 0] * 255).astype(int)
        assert np.array_equal(first_pixel % 10, part.labels)


@pytest.mark.parametrize(
    "damage", [b"", b"\x00\x00\x08", b"not an idx file", idx(np.zeros((2, 2), np.uint8))[:-1], bytes(8)]
)
def test_a_damaged_file_is_named(folder, damage):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(damage)
    with pytest.raises(DataError, match="train-images-idx3-ubyte is damaged"):
        read_idx(path)


def test_a_truncated_gzip_is_named(folder):
    path = folder / "train-labels-idx1-ubyte"
    packed = folder / "train-labels-idx1-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(DataError, match="train-labels-idx1-ubyte cannot be read"):
        read_idx(path)
