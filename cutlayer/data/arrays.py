"""A data set from arrays in memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.parts import as_images, from_one
from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import DataError

CHANNELS = (1, 3)
"""Channels that an image can have: gray or RGB."""


def from_arrays(images: NDArray[Any], labels: NDArray[Any] | None, seed: int = 0) -> Splits:
    """Deal out images and their labels to the four parts, as 4 : 2 : 1 : 1.

    Args:
        images: ``(N, C, H, W)``, ``(N, H, W, C)`` or ``(N, H, W)``, uint8, or floating point in [0, 1].
        labels: ``(N,)`` integers, 0 and up.
        seed: Decides which sample goes to which part.

    Raises:
        DataError: The arrays are no images with labels.
    """
    if labels is None or labels.shape != images.shape[:1]:
        given = "none was given" if labels is None else f"{labels.shape} were given for {images.shape}"
        raise DataError(f"Images need one label each, an array (N,); {given}.")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise DataError(f"Labels are the integers 0, 1, 2 and so on; {labels.dtype}, least {labels.min()}, was given.")
    classes = tuple(map(str, range(int(labels.max()) + 1)))
    return from_one("arrays", classes, Dataset(as_inputs(images), labels.astype(np.int64)), seed)


def as_inputs(images: NDArray[Any]) -> NDArray[np.float32]:
    """Images as ``(N, C, H, W)`` float32 in [0, 1]; see `from_arrays`."""
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in CHANNELS and images.shape[3] in CHANNELS:
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in CHANNELS:
        raise DataError(f"Images have the shape (N, C, H, W) with 1 or 3 channels; {images.shape} was given.")
    if images.dtype == np.uint8:
        return as_images(np.ascontiguousarray(images))
    if not np.issubdtype(images.dtype, np.floating) or not (images.min() >= 0 and images.max() <= 1):
        raise DataError(
            f"Images are uint8, or floating point in [0, 1]; {images.dtype} from {images.min()} to {images.max()} was "
            "given."
        )
    return np.ascontiguousarray(images, np.float32)
