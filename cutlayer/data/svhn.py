"""SVHN: photographs of house numbers, from their original files.

Y. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011,
http://ufldl.stanford.edu/housenumbers: the cropped digits, format 2.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np

from cutlayer.bounded import check_regular, reason
from cutlayer.data.listed import Archive
from cutlayer.data.parts import from_train_and_test, labelled, lacks
from cutlayer.data.splits import Splits
from cutlayer.data.stored import Pixels, Stored
from cutlayer.errors import DataError

DIGITS = tuple("0123456789")
_ARCHIVE = Archive(
    "svhn", "train_32x32.mat and test_32x32.mat", "torchvision.datasets.SVHN('svhn', download=True) fetches one each"
)
_SIDE = 32


def load(root: Path, seed: int) -> Splits:
    """Digits of house numbers, 32x32 RGB: 36,628 train, 36,629 auxiliary, 13,016 private, 13,016 test."""
    train, test = (_read(root / "svhn" / f"{part}_32x32.mat") for part in ("train", "test"))
    return from_train_and_test("svhn", DIGITS, train, test, seed)


def _read(path: Path) -> Stored:
    """The images of a file: ``X (32, 32, 3, N)`` uint8, and ``y (N, 1)``, in which the digit 0 is written 10."""
    if not path.is_file():
        raise _ARCHIVE.missing(path)
    try:
        matlab = importlib.import_module("scipy.io")
    except ImportError:
        raise lacks("svhn", "scipy") from None
    try:
        check_regular(path)
        arrays = matlab.loadmat(path, variable_names=("X", "y"))
        pixels, numbers = np.asarray(arrays["X"]), np.asarray(arrays["y"])
    except KeyError as error:
        raise DataError(f"{path} has no array {error}; put the cropped digits (format 2) there.") from None
    except Exception as error:  # scipy raises whatever it meets in damaged bytes
        raise DataError(f"{path} is damaged, or no file of MATLAB: {reason(error)}; fetch it again.") from None
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (_SIDE, _SIDE, 3):
        raise DataError(
            f"{path} holds images of shape {pixels.shape} and type {pixels.dtype}; 32x32x3xN bytes are expected, so "
            "put the cropped digits (format 2) there."
        )
    labels = np.where(numbers.reshape(-1) == 10, 0, numbers.reshape(-1)).astype(np.int64)
    return Stored(Pixels(pixels.transpose(3, 2, 0, 1)), labelled(pixels.shape[3], path, labels, path, DIGITS))
