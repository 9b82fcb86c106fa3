import numpy as np
import pytest

from cutlayer.data.cifar import HUNDRED, TEN, read_batches
from cutlayer.data.load import load
from cutlayer.errors import DataError

TENS, HUNDREDS = "cifar-10-batches-bin", "cifar-100-binary"
GROUPS = 20


@pytest.fixture
def root(tmp_path):
    """Files of both, in which the first pixel of an image tells its labels."""
    rng = np.random.default_rng(0)
    for folder, names in {TENS: ("data_batch_1", "data_batch_3", "test_batch"), HUNDREDS: ("train", "test")}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            pixels = rng.integers(256, size=(10, 3072), dtype=np.uint8)
            first = pixels[:, :1]
            labels = [first % len(TEN)] if folder == TENS else [GROUPS - 1 - first % GROUPS, first % len(HUNDRED)]
            np.hstack([*labels, pixels]).tofile(tmp_path / folder / f"{name}.bin")
    return tmp_path


@pytest.mark.parametrize(("name", "sizes"), [("cifar10", [10, 10, 5, 5]), ("cifar100", [5, 5, 5, 5])])
def test_the_training_batches_that_are_there_are_used(root, name, sizes):
    splits = load(name, root)
    assert [len(p) for p in (splits.train, splits.auxiliary, splits.private, splits.test)] == sizes
    assert splits.input.shape == (3, 32, 32)
    first_pixel = np.rint(splits.train.inputs[:, 0, 0, 0] * 255).astype(int)
    assert np.array_equal(first_pixel % len(splits.classes), splits.train.labels)


def test_there_are_as_many_classes_as_the_names_say():
    assert (len(set(TEN)), len(set(HUNDRED))) == (10, 100)
    assert list(HUNDRED) == sorted(HUNDRED)  # their order in the authors' list


@pytest.mark.parametrize(
    ("path", "classes", "labels"), [(f"{TENS}/test_batch", TEN, 1), (f"{HUNDREDS}/test", HUNDRED, 2)]
)
def test_pixels_come_channel_by_channel(root, path, classes, labels):
    path = root / f"{path}.bin"
    image = read_batches([path], classes, labels).one(0)[0] * 255
    assert np.array_equal(np.rint(image).ravel(), np.fromfile(path, np.uint8)[labels : labels + 3072])


@pytest.mark.parametrize(
    ("name", "path", "labels"),
    [("cifar10", f"{TENS}/test_batch.bin", [10]), ("cifar100", f"{HUNDREDS}/test.bin", [0, 100])],
)
def test_a_damaged_batch_is_named(root, name, path, labels):
    beyond = f"{path} holds the label {labels[-1]}, and the data set has {labels[-1]} classes"
    for damage, message in (
        (b"", f"{path} is damaged"),
        (bytes(3071 + len(labels)), f"{path} is damaged"),
        (bytes([*labels, *[0] * 3072]), beyond),
    ):
        (root / path).write_bytes(damage)
        with pytest.raises(DataError, match=message):
            load(name, root)
