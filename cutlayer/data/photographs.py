"""Three whole photographs as tiles, on which nothing was trained: a face, a cat and a cup. Needs no download.

The private part begins with the photographs, scaled to 160 px and cut into tiles of 32 px. What an attacker makes of
the tiles is laid together again, and shows how much of a photograph is left. The tiles are followed by crops of the
same photographs at full size: candidates among which a reconstruction has to be identified.

The victim and the attacker are trained on crops of six other photographs; the label is the photograph. The network has
outputs for all nine, but has never seen one of the three.
"""

import importlib.util
from itertools import product
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cutlayer.data.parts import as_images, lacks, mixed
from cutlayer.data.photos import SIDE, crops, photograph
from cutlayer.data.splits import Dataset, Splits

TILES = (5, 5)
"""Rows and columns of tiles of one photograph."""
COUNTS = {"train": 7200, "auxiliary": 3600, "private": 0, "test": 1200}
"""Crops of the photographs that the network knows."""
CANDIDATES = 930
"""Private crops that follow the tiles."""

KNOWN = {
    "motorcycle": "stereo_motorcycle",
    "rocket": "rocket",
    "retina": "retina",
    "tissue": "immunohistochemistry",
    "temple": "china.jpg",
    "flower": "flower.jpg",
}
"""Name of the class -> function in `skimage.data`, or file of `sklearn.datasets`."""
UNSEEN = {"face": ("astronaut", 0, 60, 340), "cat": ("chelsea", 0, 75, 300), "cup": ("coffee", 0, 100, 400)}
"""Name of the class -> function in `skimage.data`, and top, left and side of the square that is shown, in pixels."""


def load(root: Path | None, seed: int) -> Splits:
    """Tiles of a face, a cat and a cup, which are private, and crops of six other photographs, 32x32 RGB.

    7,200 train, 3,600 auxiliary, 1,005 private, 1,200 test. `root` is not used.
    """
    rng = np.random.default_rng(seed)
    parts = crops([_known(name) for name in KNOWN.values()], COUNTS, rng)
    labels = range(len(KNOWN), len(KNOWN) + len(UNSEEN))
    squares, windows = {}, {}
    for label, (name, top, left, side) in zip(labels, UNSEEN.values(), strict=True):
        square = photograph(name)[top : top + side, left : left + side]
        squares[label] = tiles(scaled(square, SIDE * TILES[0], SIDE * TILES[1]))
        places = rng.permutation(np.array(list(product(range(side - SIDE + 1), repeat=2))))[: CANDIDATES // len(UNSEEN)]
        windows[label] = sliding_window_view(square, (SIDE, SIDE), axis=(0, 1))[tuple(places.T)]
    others = mixed(windows, rng)
    whole = np.concatenate(list(squares.values()))
    shown = np.concatenate([np.repeat(labels, TILES[0] * TILES[1]), others.labels])
    private = Dataset(np.concatenate([whole, others.inputs]), shown, groups=shown)
    classes = (*KNOWN, *UNSEEN)
    return Splits("photographs", classes, parts["train"], parts["auxiliary"], private, parts["test"], tiles=TILES)


def scaled(photo: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """The photograph ``(H, W, 3)`` in another size, filtered against aliasing (Lanczos), in steps of 1/255."""
    from PIL import Image

    pixels = Image.fromarray(np.rint(photo * 255).astype(np.uint8))
    return as_images(np.asarray(pixels.resize((width, height), Image.Resampling.LANCZOS)))


def tiles(photo: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(rows * SIDE, columns * SIDE, 3)`` -> ``(rows * columns, 3, SIDE, SIDE)``, in reading order."""
    height, width, channels = photo.shape
    grid = photo.reshape(height // SIDE, SIDE, width // SIDE, SIDE, channels)
    return grid.transpose(0, 2, 4, 1, 3).reshape(-1, channels, SIDE, SIDE)


def _known(name: str) -> NDArray[np.float32]:
    if not name.endswith(".jpg"):
        return photograph(name)
    # Its function for that, in sklearn.datasets, takes a second to import, in every process.
    from PIL import Image

    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise lacks("photographs", "scikit-learn")
    return as_images(np.asarray(Image.open(Path(found.origin).parent / "datasets" / "images" / name).convert("RGB")))
