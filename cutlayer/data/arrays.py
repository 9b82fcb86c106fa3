"""Images and labels in arrays: in memory, in an .npz or .npy file, or in a folder with x.npy and y.npy.

The arrays of an .npz file are ``x`` and, where there are labels, ``y``; ``group`` keeps images with one number in one
part, and ``classes`` names the classes. With ``x_train, y_train, x_test, y_test`` (or ``train_images, train_labels,
test_images, test_labels``) the private and the test part come from the second pair.

Images are ``(N, H, W)``, ``(N, C, H, W)`` or ``(N, H, W, C)`` with 1, 3 or 4 channels; where both axes could hold the
channels, it is the second. They are uint8, uint16, bool, or floats in [0, 1]. Four channels are RGBA, laid on white.
Labels are the numbers of the classes from 0, or strings.

An .npy file is mapped to memory and read one image at a time; the arrays of an .npz file are read whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import map_array, read_arrays, reason
from cutlayer.data.images import BACKGROUND, fit
from cutlayer.data.near import near_copies
from cutlayer.data.parts import dealt
from cutlayer.data.splits import NO_CLASS, Splits
from cutlayer.data.stored import Stored
from cutlayer.errors import DataError

CHANNELS = (1, 3, 4)
_ONE = (("x", "y"), ("images", "labels"), ("data", "labels"))
_TWO = (("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels"))
_MOST_CLASSES = 1 << 16
_MOST_BYTES = 64 << 30
"""The limit of an .npz file, unpacked; larger data sets are .npy files, which are mapped to memory."""


class ArrayImages:
    """Images in an array of any of the accepted forms; see `cutlayer.data.stored.Source`.

    Args:
        images: As the module says.
        shape: ``(C, H, W)`` of every input; None for that of the images.
        where: The array, for messages.
    """

    def __init__(self, images: NDArray[Any], shape: tuple[int, ...] | None, where: str) -> None:
        self._images, self._where = images, where
        axes = images.shape[1:]
        if images.ndim == 3:
            axes, self._last = (1, *axes), False
        elif images.ndim == 4 and (axes[0] in CHANNELS or axes[2] in CHANNELS):
            self._last = axes[0] not in CHANNELS
            axes = (axes[2], *axes[:2]) if self._last else axes
        else:
            raise DataError(
                f"{where} has the shape {images.shape}; images are (N, H, W), (N, C, H, W) or (N, H, W, C) with 1, 3 "
                "or 4 channels."
            )
        if images.dtype not in (np.uint8, np.uint16, np.bool_) and images.dtype.kind != "f":
            raise DataError(f"{where} is of type {images.dtype}; images are uint8, uint16, bool, or floats in [0, 1].")
        if not min(axes):
            raise DataError(f"{where} has the shape {images.shape}; an image has at least one pixel.")
        self.shape = shape or (3 if axes[0] == 4 else axes[0], *axes[1:])
        if len(self.shape) != 3 or self.shape[0] not in (1, 3):
            raise DataError(f"{where} becomes inputs of 1 or 3 channels, CxHxW; {self.shape} is asked for.")

    def __getitem__(self, place: int, /) -> NDArray[np.float32]:
        pixels = np.asarray(self._images[place])
        values = pixels.astype(np.float32)
        if pixels.dtype.kind == "u":
            values /= np.float32(np.iinfo(pixels.dtype).max)
        elif not (values.min() >= 0 and values.max() <= 1):
            raise DataError(
                f"{self._where} holds values from {values.min():g} to {values.max():g} in image {place}; floats must "
                "lie in [0, 1], so scale them, or store bytes of 0 to 255 as uint8."
            )
        values = values[None] if values.ndim == 2 else values.transpose(2, 0, 1) if self._last else values
        if len(values) == 4:
            alpha, background = values[3:], np.float32(BACKGROUND[0] / 255)
            values = values[:3] * alpha + background * (1 - alpha)
        if len(values) != self.shape[0]:
            luma = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]  # ITU-R 601, as for image files
            values = (values * luma).sum(axis=0, keepdims=True) if self.shape[0] == 1 else np.repeat(values, 3, axis=0)
        return np.ascontiguousarray(fit(values, *self.shape[1:]))


def open_arrays(path: Path, name: str, seed: int, shape: tuple[int, ...] | None) -> Splits:
    """The images and labels of a file or a folder of arrays.

    Args:
        path: The .npz or .npy file, or the folder with x.npy.
        name: Name of the data set.
        seed: Decides which image goes to which part.
        shape: ``(C, H, W)`` of the inputs; None for that of the images.

    Raises:
        DataError: The file is damaged, an array is missing or of another kind, or two do not belong together.
    """
    return _splits(name, _arrays(path), f"{path}, array ", seed, shape)


def from_arrays(
    images: NDArray[Any], labels: NDArray[Any] | None, seed: int = 0, shape: tuple[int, ...] | None = None
) -> Splits:
    """Deal out images in memory, and their labels, to the four parts, as 4 : 2 : 1 : 1.

    Args:
        images: As the module says.
        labels: ``(N,)``, as the module says; None where they are not known.
        seed: Decides which image goes to which part.
        shape: ``(C, H, W)`` of the inputs; None for that of the images.

    Raises:
        DataError: The arrays are no images with labels.
    """
    arrays = {"images": images} if labels is None else {"images": images, "labels": labels}
    splits = _splits("arrays", arrays, "", seed, shape).loaded()
    return replace(splits, notes=(*splits.notes, *near_copies(splits)))


def _splits(
    name: str, arrays: Mapping[str, NDArray[Any]], where: str, seed: int, shape: tuple[int, ...] | None
) -> Splits:
    """The four parts; a message begins with `where`, and goes on with the name of an array."""
    two = next((names for names in _TWO if set(names) <= arrays.keys()), None)
    pairs = [two[:2], two[2:]] if two else [next((names for names in _ONE if names[0] in arrays), ("", ""))]
    if not pairs[0][0]:
        raise DataError(
            f"{where}x is missing, among {', '.join(sorted(arrays)) or 'none'}; images are expected as x and labels as "
            f"y, or {', '.join(_TWO[0])}."
        )
    label_key = pairs[0][1]
    classes, numbers = _classes(where + label_key, [arrays.get(key) for _, key in pairs], arrays.get("classes"))
    parts = []
    for (key, label_key), own in zip(pairs, numbers, strict=True):
        source = ArrayImages(arrays[key], shape, where + key)
        n, group = len(arrays[key]), arrays.get("group") if len(pairs) == 1 else None
        for other, values in ((label_key, own), ("group", group)):
            if values is not None and len(values) != n:
                raise DataError(
                    f"{where}{key} holds {n:,} images and {other} holds {len(values):,} numbers, so they do not "
                    "belong together."
                )
        groups = None if group is None else np.unique(group, return_inverse=True)[1].astype(np.int64)
        parts.append(Stored(source, np.full(n, NO_CLASS) if own is None else own, groups=groups))
    return Splits(name, classes, *dealt(parts, seed))


def _arrays(path: Path) -> Mapping[str, NDArray[Any]]:
    """The arrays by name: mapped to memory from .npy files, read from an .npz file."""
    if path.is_dir():
        files = {file.stem: file for file in (path / f"{key}.npy" for key in ("x", "y", "group", "classes"))}
        return {key: _array(file) for key, file in files.items() if file.exists()}
    if path.suffix.lower() == ".npy":
        return {"x": _array(path)}
    try:
        return read_arrays(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}.") from None


def _array(path: Path) -> NDArray[Any]:
    try:
        return map_array(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}.") from None


def _classes(
    where: str, labels: list[NDArray[Any] | None], names: NDArray[Any] | None
) -> tuple[tuple[str, ...], list[NDArray[np.int64] | None]]:
    """The names of the classes, and the labels as their numbers."""
    if labels[0] is None or any(own is None for own in labels):
        return (), [None] * len(labels)
    flat = [own.reshape(-1, 1) for own in labels if own is not None and own.ndim and own.size == len(own) > 0]
    if len(flat) < len(labels):
        raise DataError(f"{where} has the shape {labels[0].shape}; each image needs one number or string.")
    together = np.concatenate([own[:, 0] for own in flat])
    if together.dtype.kind in "US":
        found, numbers = np.unique(together, return_inverse=True)
        classes = tuple(map(str, found))
    else:
        numbers = together.astype(np.int64)
        if (numbers != together).any() or numbers.min() < 0 or numbers.max() >= _MOST_CLASSES:
            raise DataError(
                f"{where} goes from {together.min()} to {together.max()}; labels are the numbers of the classes, from "
                "0, or strings."
            )
        classes = tuple(map(str, range(int(numbers.max()) + 1))) if names is None else tuple(map(str, names))
        if numbers.max() >= len(classes):
            raise DataError(f"{where} holds the label {numbers.max()}, and {len(classes)} classes are named, from 0.")
    return classes, list(np.split(numbers.astype(np.int64), np.cumsum([len(own) for own in flat])[:-1]))
