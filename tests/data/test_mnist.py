import gzip
import struct

import numpy as np
import pytest

from cutlayer.data.load import load, open_data
from cutlayer.data.mnist import read_idx
from cutlayer.data.stored import Stored
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


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is no idx file"),
    (b"\x00\x00\x08", "is no idx file"),
    (b"not an idx file", "is no idx file"),
    (bytes(8), "is no idx file"),
    (bytes([0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0]), "holds elements of the idx type 0x0d"),
    (bytes([0, 0, 8, 3, 0, 0]), "is damaged"),
    (idx(np.zeros((2, 2), np.uint8))[:-1], "is damaged: by its header it has 16 bytes, and there are 15"),
    (idx(np.zeros(2, np.uint8)) + b" ", "is damaged"),
])  # fmt: skip
def test_only_what_is_damaged_is_called_so(folder, content, message):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"train-images-idx3-ubyte {message}"):
        read_idx(path)


def test_a_truncated_gzip_is_named(folder):
    packed = folder / "train-labels-idx1-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz is damaged"):
        read_idx(folder / "train-labels-idx1-ubyte")


@pytest.mark.parametrize(("labels", "message"), [
    (np.zeros(15, np.uint8), "train-images-idx3-ubyte holds 20 inputs and .*train-labels-idx1-ubyte holds 15 labels"),
    (np.zeros(24, np.uint8), "holds 20 inputs and .*holds 24 labels"),
    (np.full(20, 10, np.uint8), "train-labels-idx1-ubyte holds the label 10, and the data set has 10 classes, 0 to 9"),
    (np.zeros((20, 1), np.uint8), "train-labels-idx1-ubyte holds an array of 2 axes, and 1 are expected"),
])  # fmt: skip
def test_images_and_labels_that_do_not_belong_together(folder, labels, message):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    with pytest.raises(DataError, match=message):
        load("mnist", folder.parent.parent)


def test_an_image_is_read_when_it_is_asked_for(folder):
    opened, loaded = (read("mnist", folder.parent.parent) for read in (open_data, load))
    for part, stored in opened.parts.items():
        assert isinstance(stored, Stored)
        whole = loaded.parts[part]
        assert np.array_equal(stored.one(3), whole.one(3))
        assert np.array_equal(stored.at(np.array([4, 1])).inputs, whole.inputs[[4, 1]])
        assert np.array_equal(stored.labels, whole.labels)
