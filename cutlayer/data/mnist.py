"""MNIST and Fashion-MNIST from their original files (idx, plain or gzipped).

Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", http://yann.lecun.com/exdb/mnist.
H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017, https://arxiv.org/abs/1708.07747.
The folders are those that torchvision makes.
"""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.parts import as_images, from_train_and_test
from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import DataError

DIGITS = tuple("0123456789")
CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_UINT8 = 8


def load_mnist(root: Path, seed: int) -> Splits:
    """Handwritten digits, 28x28 grey: 30,000 train, 30,000 auxiliary, 5,000 private, 5,000 test."""
    return _load("mnist", root / "MNIST" / "raw", DIGITS, seed)


def load_fashion_mnist(root: Path, seed: int) -> Splits:
    """Articles of clothing, 28x28 grey: 30,000 train, 30,000 auxiliary, 5,000 private, 5,000 test."""
    return _load("fashion-mnist", root / "FashionMNIST" / "raw", CLOTHES, seed)


def _load(name: str, folder: Path, classes: tuple[str, ...], seed: int) -> Splits:
    def part(name: str) -> Dataset:
        images, labels = (read_idx(folder / f"{name}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
        return Dataset(as_images(images)[:, None], labels.astype(np.int64))

    return from_train_and_test(name, classes, part("train"), part("t10k"), seed)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an idx file, or in the file of that name with ``.gz`` appended.

    Layout: two zero bytes, the type of the elements, the number of axes, the length of each as big-endian u32, and
    the elements.

    Raises:
        DataError: The file is missing or of another kind.
    """
    packed = path.with_name(path.name + ".gz")
    try:
        if path.exists():
            content = path.read_bytes()
        elif packed.exists():
            content = gzip.decompress(packed.read_bytes())
        else:
            raise DataError(
                f"{path} is missing, and so is {packed.name}; name the folder that holds {path.parts[-3]}/raw with "
                f"--data-root or CUTLAYER_DATA (torchvision.datasets.{path.parts[-3]}(root, download=True) makes it)."
            )
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch it again.") from None
    header = 4 + 4 * content[3] if len(content) > 3 else 4
    axes = content[3] if len(content) >= header > 4 else 0
    shape = np.frombuffer(content, ">u4", count=axes, offset=4).tolist() if axes else []
    if content[:3] != bytes([0, 0, _UINT8]) or not shape or len(content) != header + prod(shape):
        raise DataError(f"{path} is damaged: it is no idx file of bytes, or is cut short; fetch it again.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
