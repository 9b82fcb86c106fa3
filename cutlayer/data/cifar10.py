"""CIFAR-10 from its original binary files.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from pathlib import Path

import numpy as np

from cutlayer.data.parts import as_images, from_train_and_test
from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FOLDER = "cifar-10-batches-bin"
_SHAPE = (3, 32, 32)
_RECORD_BYTES = 1 + 3 * 32 * 32


def load(root: Path, seed: int) -> Splits:
    """Photographs of things and animals, 32x32 RGB.

    All training batches that are there are used: with all five, 25,000 train, 25,000 auxiliary; then 5,000 private and
    5,000 test.
    """
    folder = root / _FOLDER
    batches = [path for i in range(1, 6) if (path := folder / f"data_batch_{i}.bin").exists()]
    train = [read_batch(path) for path in batches or [folder / "data_batch_1.bin"]]
    together = Dataset(np.concatenate([b.images for b in train]), np.concatenate([b.labels for b in train]))
    return from_train_and_test("cifar10", CLASSES, together, read_batch(folder / "test_batch.bin"), seed)


def read_batch(path: Path) -> Dataset:
    """The images of one file: for each its label and its pixels, a byte each, channel by channel.

    Raises:
        DataError: There is no such file, or it holds something else.
    """
    if not path.exists():
        raise DataError(
            f"{path} is missing; name the folder that holds {_FOLDER} with --data-root or CUTLAYER_DATA "
            "(https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz unpacks to it)."
        )
    content = np.fromfile(path, np.uint8)
    if len(content) == 0 or len(content) % _RECORD_BYTES or content[::_RECORD_BYTES].max() >= len(CLASSES):
        raise DataError(f"{path} is damaged: it is no batch of CIFAR-10's binary version; fetch it again.")
    records = content.reshape(-1, _RECORD_BYTES)
    return Dataset(as_images(records[:, 1:].reshape(-1, *_SHAPE)), records[:, 0].astype(np.int64))
