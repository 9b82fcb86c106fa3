"""Folders as torchvision's data sets write them: MNIST and its kin, CIFAR-10 and CIFAR-100, STL-10.

Data sets that torchvision keeps as class folders (EuroSAT, Imagenette, Country211, GTSRB and others) are read as such.
The batches of CIFAR for Python are pickles, which can run any code when they are loaded. They are loaded by an
unpickler that builds plain values and arrays of numpy, and refuses all else.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import read_bytes, reason
from cutlayer.data.cifar import HUNDRED, TEN, read_batches
from cutlayer.data.mnist import CLOTHES, DIGITS, read_part
from cutlayer.data.parts import dealt, labelled
from cutlayer.data.splits import Dataset, Splits
from cutlayer.data.stored import Pixels, Stored
from cutlayer.errors import DataError

_SHAPE = (3, 32, 32)
_MOST_BYTES = 1 << 30
_STL = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
_STL_SHAPE = (3, 96, 96)


def open_download(path: Path, name: str, seed: int) -> Splits | None:
    """The data set in a folder, or in one of those below it; None if the folder is of another kind.

    Raises:
        DataError: The folder is of such a kind, and a file is missing, damaged, or does not belong to another.
    """
    found = [(folder, read) for marker, read in _READERS.items() for folder in _holding(path, marker)]
    if not found:
        return None
    if len(found) > 1:
        raise DataError(f"{path} holds several data sets: {', '.join(str(folder) for folder, _ in found)}; name one.")
    folder, read = found[0]
    classes, train, test = read(folder)
    return Splits(name, classes, *dealt([train, test], seed))


def _holding(path: Path, marker: str) -> list[Path]:
    """The folders that hold the file, plain or gzipped: this one, or those below it, and ``raw`` in any of them."""
    for pattern in ("", "raw/", "*/", "*/raw/"):
        names = [pattern + marker + suffix for suffix in ("", ".gz")]
        found = {file.parent for name in names for file in path.glob(name) if file.is_file()}
        if found:
            return sorted(found)
    return []


Found = tuple[tuple[str, ...], Dataset, Dataset]
"""The names of the classes, what is for training, and what is for testing."""
Read = Callable[[Path], Found]


def _idx(folder: Path) -> Found:
    classes = CLOTHES if "FashionMNIST" in folder.parts else DIGITS
    return classes, read_part(folder, "train", classes), read_part(folder, "t10k", classes)


def _cifar10_binary(folder: Path) -> Found:
    batches = sorted(folder.glob("data_batch_?.bin"))
    return TEN, read_batches(batches, TEN), read_batches([folder / "test_batch.bin"], TEN)


def _cifar100_binary(folder: Path) -> Found:
    return HUNDRED, read_batches([folder / "train.bin"], HUNDRED, 2), read_batches([folder / "test.bin"], HUNDRED, 2)


def _cifar10_python(folder: Path) -> Found:
    return TEN, _pickled(sorted(folder.glob("data_batch_?")), TEN), _pickled([folder / "test_batch"], TEN)


def _cifar100_python(folder: Path) -> Found:
    return HUNDRED, _pickled([folder / "train"], HUNDRED), _pickled([folder / "test"], HUNDRED)


def _stl10(folder: Path) -> Found:
    def part(name: str) -> Dataset:
        images, labels = folder / f"{name}_X.bin", folder / f"{name}_y.bin"
        size = int(np.prod(_STL_SHAPE))
        if not images.exists():
            raise DataError(f"{images} is missing; fetch it again.")
        if not images.stat().st_size or images.stat().st_size % size:
            raise DataError(f"{images} is damaged: its size is no multiple of {size:,} bytes; fetch it again.")
        pixels = np.memmap(images, np.uint8, "r").reshape(-1, *_STL_SHAPE).transpose(0, 1, 3, 2)  # column by column
        try:
            numbers = np.frombuffer(read_bytes(labels, _MOST_BYTES), np.uint8).astype(np.int64) - 1  # from 1
        except (OSError, ValueError) as error:
            raise DataError(f"{labels} cannot be read: {reason(error)}; fetch it again.") from None
        return Stored(Pixels(pixels), labelled(len(pixels), images, numbers, labels, _STL))

    return _STL, part("train"), part("test")


_READERS: dict[str, Read] = {
    "train-images-idx3-ubyte": _idx,
    "data_batch_1.bin": _cifar10_binary,
    "train.bin": _cifar100_binary,
    "data_batch_1": _cifar10_python,
    "train": _cifar100_python,
    "train_X.bin": _stl10,
}
"""A file by which each kind of folder is known -> what reads the folder."""


def _pickled(paths: list[Path], classes: tuple[str, ...]) -> Stored:
    pixels, numbers = [], []
    for path in paths:
        try:
            batch = _Plain(io.BytesIO(read_bytes(path, _MOST_BYTES)), encoding="latin1").load()
            data = np.asarray(batch["data"], np.uint8).reshape(-1, *_SHAPE)
            labels = np.array(batch["labels" if "labels" in batch else "fine_labels"], np.int64)
        except FileNotFoundError:
            raise DataError(f"{path} is missing; let torchvision.datasets download it again.") from None
        except Exception as error:  # an unpickler raises whatever it meets in damaged bytes
            raise DataError(f"{path} is damaged, or no batch of CIFAR: {reason(error)}; fetch it again.") from None
        pixels.append(data)
        numbers.append(labelled(len(data), path, labels, path, classes))
    return Stored(Pixels(*pixels), np.concatenate(numbers))


def _array(kind: type, shape: tuple[int, ...], code: bytes) -> NDArray[Any]:
    """What a pickle calls to begin an array, whose content follows."""
    return np.ndarray.__new__(np.ndarray, (0,), np.int8)


class _Plain(pickle.Unpickler):
    """Builds plain values and arrays of numpy, and nothing else: no class and no function of a pickle's choice."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("multiarray", "_reconstruct"): _array,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
        }
        place = module.rpartition(".")[2] if module.startswith("numpy") else module, name
        if place not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch needs")
        return allowed[place]
