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

from cutlayer.bounded import opened, reason
from cutlayer.data.parts import from_train_and_test, labelled
from cutlayer.data.splits import Splits
from cutlayer.data.stored import Pixels, Stored
from cutlayer.errors import DataError

DIGITS = tuple("0123456789")
CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_UINT8 = 8
_MOST_BYTES = 1 << 30
"""The limit of a file, unpacked: more than any data set of this format has."""


def load_mnist(root: Path, seed: int) -> Splits:
    """Handwritten digits, 28x28 grey: 30,000 train, 30,000 auxiliary, 5,000 private, 5,000 test."""
    return _load("mnist", root / "MNIST" / "raw", DIGITS, seed)


def load_fashion_mnist(root: Path, seed: int) -> Splits:
    """Articles of clothing, 28x28 grey: 30,000 train, 30,000 auxiliary, 5,000 private, 5,000 test."""
    return _load("fashion-mnist", root / "FashionMNIST" / "raw", CLOTHES, seed)


def _load(name: str, folder: Path, classes: tuple[str, ...], seed: int) -> Splits:
    train, test = (read_part(folder, part, classes) for part in ("train", "t10k"))
    return from_train_and_test(name, classes, train, test, seed)


def read_part(folder: Path, part: str, classes: tuple[str, ...]) -> Stored:
    """The images and labels of one part, ``train`` or ``t10k``. An image is read when it is asked for.

    Raises:
        DataError: A file is missing, damaged or of another kind, or the two do not belong together.
    """
    paths = [folder / f"{part}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
    images, labels = map(read_idx, paths)
    for path, array, axes in zip(paths, (images, labels), (3, 1), strict=True):
        if array.ndim != axes:
            raise DataError(f"{path} holds an array of {array.ndim} axes, and {axes} are expected; is it another file?")
    return Stored(Pixels(images[:, None]), labelled(len(images), paths[0], labels, paths[1], classes))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an idx file, or in the file of that name with ``.gz`` appended. A plain file is mapped to memory.

    Layout: two zero bytes, the type of the elements, the number of axes, the length of each as big-endian u32, and
    the elements.

    Raises:
        DataError: The file is missing, cannot be read, is of another kind or damaged.
    """
    packed = path.with_name(path.name + ".gz")
    try:
        if path.exists():
            content = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
        elif packed.exists():
            with opened(packed) as file, gzip.open(file) as unpacked:
                content = np.frombuffer(unpacked.read(_MOST_BYTES), np.uint8)
        else:
            raise DataError(
                f"{path} is missing, and so is {packed.name}; name the folder that holds {path.parts[-3]}/raw with "
                f"--data-root or CUTLAYER_DATA (torchvision.datasets.{path.parts[-3]}(root, download=True) makes it)."
            )
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{packed} is damaged ({error}); fetch it again.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}.") from None
    kind, axes = content[2:4].tolist() if len(content) > 3 else (0, 0)
    if content[:2].any() or not axes:
        raise DataError(f"{path} is no idx file: it does not begin with two zero bytes, a type and a number of axes.")
    if kind != _UINT8:
        raise DataError(f"{path} holds elements of the idx type {kind:#04x}; only bytes ({_UINT8:#04x}) are read.")
    header = 4 + 4 * axes
    shape = content[4:header].view(">u4").tolist() if len(content) >= header else []
    if not shape or len(content) != header + prod(shape):
        raise DataError(
            f"{path} is damaged: by its header it has {header + prod(shape):,} bytes, and there are {len(content):,}; "
            "fetch it again."
        )
    return content[header:].reshape(shape)
