"""Crops of the color photographs inside scikit-image; the label is the photograph. Needs no download.

Each photograph is cut into cells, and each cell belongs to one part. A crop lies within one cell, so that no pixel of a
photograph is seen by two parts. Crops of one part overlap: they are fewer independent samples than their number says.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cutlayer.data.parts import as_images, embedded, mixed
from cutlayer.data.splits import Dataset, Splits

SIDE = 32
"""Height and width of a crop, in pixels."""
CELL = 48
"""Least height and width of a cell, in pixels."""

PHOTOS = {
    "astronaut": "astronaut",
    "cat": "chelsea",
    "coffee": "coffee",
    "motorcycle": "stereo_motorcycle",
    "rocket": "rocket",
}
"""Name of the class -> function in `skimage.data`: the everyday photographs in its wheel."""

COUNTS = {"train": 8000, "auxiliary": 4000, "private": 1000, "test": 1000}
EIGHTHS = ("train", "train", "train", "train", "auxiliary", "auxiliary", "private", "test")
"""The parts that eight cells of a photograph belong to."""
LEAST_CONTRAST = 0.04
"""Least standard deviation of a crop's brightness: flat sky says nothing about an attack."""


def load(root: Path | None, seed: int) -> Splits:
    """Crops of five photographs, 32x32 RGB, from scikit-image: 8,000 train, 4,000 auxiliary, 1,000 private, 1,000 test.

    Each part has as many crops of each photograph. `root` is not used.
    """
    parts = crops([photograph(name) for name in PHOTOS.values()], COUNTS, np.random.default_rng(seed))
    return Splits("photos", tuple(PHOTOS), *parts.values())


LARGE_SIDE, LARGE_CELL = 64, 80
"""The same of the larger crops."""
LARGE_COUNTS = {"train": 2000, "auxiliary": 2000, "private": 200, "test": 200}


def load_large(root: Path | None, seed: int) -> Splits:
    """Crops of five photographs, 64x64 RGB, from scikit-image: 2,000 train, 2,000 auxiliary, 200 private, 200 test.

    As `load`, twice as high and wide. `root` is not used.
    """
    photographs = [photograph(name) for name in PHOTOS.values()]
    parts = crops(photographs, LARGE_COUNTS, np.random.default_rng(seed), LARGE_SIDE, LARGE_CELL)
    return Splits("photos-64", tuple(PHOTOS), *parts.values())


def crops(
    photographs: Sequence[NDArray[np.float32]],
    counts: Mapping[str, int],
    rng: np.random.Generator,
    side: int = SIDE,
    cell: int = CELL,
) -> dict[str, Dataset]:
    """The four parts, cut from photographs ``(H, W, 3)`` in [0, 1]; the label of a crop is its photograph's position.

    Args:
        photographs: At least as high and wide as a cell.
        counts: Number of crops in each part of `COUNTS`, in its order; each photograph gives the same share of them.
        rng: Decides which part gets which cell, and which of the crops in a cell are taken.
        side: Height and width of a crop, in pixels.
        cell: Least height and width of a cell, in pixels.
    """
    found: dict[str, dict[int, NDArray[np.float32]]] = {part: {} for part in counts}
    for label, photo in enumerate(photographs):
        windows = sliding_window_view(photo, (side, side), axis=(0, 1))
        owners = corner_owners(_contrast(photo, side) >= LEAST_CONTRAST, rng, side, cell)
        for i, (part, n) in enumerate(counts.items()):
            rows, columns = rng.permutation(np.argwhere(owners == i))[: n // len(photographs)].T
            found[part][label] = windows[rows, columns]
    return {part: mixed(found[part], rng) for part in counts}


def photograph(name: str) -> NDArray[np.float32]:
    """A photograph of `skimage.data`, by the name of its function: ``(H, W, 3)`` in [0, 1]."""
    loaded = getattr(embedded("photos", "skimage.data", "scikit-image"), name)()
    pixels: NDArray[np.uint8] = loaded[0] if isinstance(loaded, tuple) else loaded  # the left one of a stereo pair
    return as_images(pixels)


def corner_owners(
    usable: NDArray[np.bool_], rng: np.random.Generator, side: int = SIDE, cell: int = CELL
) -> NDArray[np.int8]:
    """Deal the cells of a photograph out to the parts, the richest first, so that no part gets only poor ones.

    Args:
        usable: ``(H - side + 1, W - side + 1)``, whether the crop whose top left pixel is there shows anything.
        rng: Decides which of eight equally rich cells belongs to whom.
        side: See `crops`.
        cell: Likewise.

    Returns:
        The index in `COUNTS` of the part that each crop belongs to, in the same places; -1 where it shows nothing or
        would reach into another cell.
    """
    rows, columns = ([round(edge) for edge in np.linspace(0, n, n // cell + 1)] for n in np.add(usable.shape, side - 1))
    corners = [
        np.s_[top : bottom - side + 1, left : right - side + 1]
        for (top, bottom), (left, right) in product(pairwise(rows), pairwise(columns))
    ]
    corners.sort(key=lambda place: -np.count_nonzero(usable[place]))
    owners = np.full(usable.shape, -1, np.int8)
    for first in range(0, len(corners), len(EIGHTHS)):
        for place, part in zip(corners[first:], rng.permutation(EIGHTHS), strict=False):
            owners[place] = list(COUNTS).index(part)
    return np.where(usable, owners, np.int8(-1))


def _contrast(photo: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """Standard deviation of the brightness in each crop, by running sums."""
    brightness = photo.mean(axis=2, dtype=np.float64)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        upper, lower = sums[:-side], sums[side:]
        total: NDArray[np.float64] = lower[:, side:] - upper[:, side:] - lower[:, :-side] + upper[:, :-side]
        return total / side**2

    return np.sqrt(np.maximum(mean(brightness**2) - mean(brightness) ** 2, 0))
