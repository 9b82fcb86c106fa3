"""A folder of image files: class folders, a flat folder, or such folders for training and for testing.

    PATH/CLASS/IMAGE              the class is the folder, as for torchvision's ImageFolder, in the order of the names
    PATH/CLASS/GROUP/IMAGE        images of one group (frames of a video, crops of a photograph) stay in one part
    PATH/IMAGE                    no classes: attacks, profiles and devices can use the images, training cannot
    PATH/train/..., PATH/test/... train and auxiliary from the first, private and test from the second; val is part of
                                  the first, or stands for a test folder that is not there

A folder that holds nothing but one folder stands for that one.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.images import SUFFIXES, ImageFiles, size_of
from cutlayer.data.listing import visible
from cutlayer.data.parts import dealt
from cutlayer.data.splits import NAMED, NO_CLASS, Dataset, Splits
from cutlayer.data.stored import Stored
from cutlayer.errors import DataError

TRAIN, VALIDATION, TEST = {"train", "training"}, {"val", "valid", "validation"}, {"test", "testing"}
PICTURES = {
    ".avif", ".cr2", ".cr3", ".dng", ".exr", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".raw", ".svg", ".avi", ".mkv",
    ".mov", ".mp4", ".webm",
}  # fmt: skip
"""Endings of pictures and videos that are not read, which is said; other files are passed over in silence."""
_LOOKED_AT = 200
"""Images whose headers are read to find out whether all have one size."""


def open_folder(
    folder: Path, name: str, seed: int, shape: tuple[int, ...] | None, otherwise: tuple[int, ...] | None
) -> Splits:
    """The images below a folder, each read when it is asked for.

    Args:
        folder: The folder.
        name: Name of the data set.
        seed: Decides which image goes to which part.
        shape: ``(C, H, W)`` of the inputs; None where it is not stated.
        otherwise: The shape if none is stated; None for that of the images, which then have to be of one size.

    Raises:
        DataError: There are no images, or no size is stated for images of several sizes.
    """
    files = visible(folder)
    paths = [path for path in files if path.suffix.lower() in SUFFIXES]
    others = Counter(path.suffix.lower() or path.name for path in files if path.suffix.lower() not in SUFFIXES)
    kinds = ", ".join(f"{suffix} {n:,}" for suffix, n in others.most_common(NAMED))
    if not paths:
        raise DataError(
            f"{folder} holds no images ({kinds or 'it is empty'}); name a folder of class folders with images "
            f"({', '.join(SUFFIXES)}), a flat folder of them, a folder that torchvision downloaded, or an .npz or .npy "
            "file."
        )
    top = _unwrapped(folder, paths)
    places = [path.relative_to(top).parts for path in paths]
    tops = {place[0].lower() for place in places if len(place) > 1}
    divided = len(tops) > 1 and tops <= TRAIN | VALIDATION | TEST and bool(tops & TRAIN)
    classes, labels, groups = _classes(top, [place[divided:] for place in places])
    source = ImageFiles(paths, shape or otherwise or _one_size(paths, folder))
    data = Stored(source, labels, groups=groups)
    left = ", ".join(f"{suffix} {n:,}" for suffix, n in others.items() if suffix in PICTURES)
    notes = (
        (f"Pictures of kinds that are not read are left out ({left}); convert them to PNG or JPEG.",) if left else ()
    )
    parts: list[Dataset] = [data]
    if divided:
        held_back = TEST if tops & TEST else VALIDATION
        test = np.array([place[0].lower() in held_back for place in places])
        parts = [data.at(np.flatnonzero(~test)), data.at(np.flatnonzero(test))]
    return Splits(name, classes, *dealt(parts, seed), notes=notes)


def _unwrapped(folder: Path, paths: list[Path]) -> Path:
    """The deepest folder that all images are below."""
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return common if common.is_relative_to(folder) else folder


def _classes(
    folder: Path, places: list[tuple[str, ...]]
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64] | None]:
    """The names of the classes, the class of each image, and its group, from the folders that it is in."""
    flat = [place for place in places if len(place) == 1]
    if flat and len(flat) < len(places):
        below = sorted({place[0] for place in places if len(place) > 1})
        raise DataError(
            f"{folder} holds {len(flat):,} images, such as {flat[0][0]}, beside the folders "
            f"{', '.join(below[:NAMED])}; put all images into class folders, or none."
        )
    if flat:
        return (), np.full(len(places), NO_CLASS, np.int64), None
    folders = sorted({place[0] for place in places})
    numbers = {name: number for number, name in enumerate(folders)}
    # Records hold the names, in UTF-8, which the name of a folder need not be.
    classes = [name.encode("utf-8", "backslashreplace").decode() for name in folders]
    labels = np.array([numbers[place[0]] for place in places], np.int64)
    if all(len(place) == 2 for place in places):
        return tuple(classes), labels, None
    # An image that lies in the folder of its class itself is a group of its own.
    keys = ["/".join(place[:-1] if len(place) > 2 else place) for place in places]
    return tuple(classes), labels, np.unique(keys, return_inverse=True)[1].astype(np.int64)


def _one_size(paths: list[Path], folder: Path) -> tuple[int, ...]:
    """The size of the images, if they have one."""
    sizes = Counter(filter(None, map(size_of, paths[:: max(1, len(paths) // _LOOKED_AT)])))
    if len(sizes) == 1:
        return next(iter(sizes))
    shown = ", ".join("x".join(map(str, size)) for size, _ in sizes.most_common(3))
    raise DataError(
        f"The images of {folder} have several sizes ({shown or 'none can be read'}); state the size of the inputs, "
        "CxHxW, with --input 3x64x64, in Python with shape=(3, 64, 64)."
    )
