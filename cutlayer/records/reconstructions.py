"""What the attackers rebuilt of every private input, as the arrays of `reconstructions.npz`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

REBUILT = "rebuilt/"
"""First part of the name of an array of reconstructions; the deployment and the label of the attack follow."""


@dataclass(frozen=True)
class Reconstructions:
    """The private inputs of a run and what each attack rebuilt of them.

    Attributes:
        originals: ``(N, *input.shape)`` float16 in the range of the inputs; uint8 pixels in files of the first version.
        labels: ``(N,)`` the classes of the originals.
        telling: Positions of the originals with most contrast, which say most to the eye, chosen by them alone.
        rebuilt: Arrays as the originals, by deployment and label of the attack.
        tiles: Rows and columns, where the originals begin with the tiles of whole photographs in reading order; else
            None.
        legend: What the numbers stand for, as `cutlayer.data.legend` writes it; empty where they are pixels.
    """

    originals: NDArray[Any] = field(default_factory=lambda: np.zeros(0, np.float16))
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    telling: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    rebuilt: Mapping[tuple[str, str], NDArray[Any]] = field(default_factory=dict)
    tiles: tuple[int, int] | None = None
    legend: str = ""

    @cached_property
    def whole(self) -> Reconstructions:
        """The photographs in place of their tiles, laid together again; the same where there are no tiles."""
        if self.tiles is None:
            return self
        originals, labels = mosaic(self.originals, self.tiles), self.labels[:: self.tiles[0] * self.tiles[1]]
        rebuilt = {key: mosaic(images, self.tiles) for key, images in self.rebuilt.items()}
        return Reconstructions(originals, labels[: len(originals)], np.arange(len(originals)), rebuilt)

    def by(self, label: str, deployment: str) -> NDArray[Any] | None:
        """What an attack rebuilt from this deployment, or from another one where this is missing; None for neither.

        The first version of cutlayer kept the reconstructions of one deployment.
        """
        others = (images for (_, name), images in self.rebuilt.items() if name == label)
        return self.rebuilt.get((deployment, label), next(others, None))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by their names in the file: no label of an attack takes the name of another array."""
        images = {f"{REBUILT}{deployment}/{label}": images for (deployment, label), images in self.rebuilt.items()}
        tiles = {} if self.tiles is None else {"tiles": np.array(self.tiles)}
        said = {"legend": np.frombuffer(self.legend.encode(), np.uint8)} if self.legend else {}
        return {"originals": self.originals, "labels": self.labels, "telling": self.telling, **tiles, **said, **images}


def from_arrays(arrays: Mapping[str, NDArray[Any]], deployment: str) -> Reconstructions:
    """The content of a file, of this version or of the first.

    The first version kept a few inputs of one deployment, each attack's array by its label alone.

    Args:
        arrays: The arrays by name.
        deployment: The deployment of a file of the first version.

    Raises:
        KeyError, ValueError: An array is missing, or has another shape or type than the originals.
    """
    originals, labels = arrays["originals"], arrays["labels"].astype(np.int64).ravel()
    if "telling" in arrays:
        parts = {name: name.split("/", 2) for name in arrays if name.startswith(REBUILT)}
        rebuilt = {(where, label): arrays[name] for name, (_, where, label) in parts.items()}
        telling = arrays["telling"].astype(np.int64).ravel()
    else:
        rebuilt = {(deployment, name): arrays[name] for name in arrays if name not in ("originals", "labels")}
        telling = np.arange(len(originals), dtype=np.int64)
    if any((images.shape, images.dtype) != (originals.shape, originals.dtype) for images in rebuilt.values()):
        raise ValueError("it holds arrays of other shapes than the originals")
    if len(labels) != len(originals) or not np.isin(telling, np.arange(len(originals))).all():
        raise ValueError("its labels and positions do not belong to the originals")
    legend = ""
    if "telling" in arrays and "legend" in arrays:
        legend = arrays["legend"].astype(np.uint8).tobytes().decode(errors="replace")
    if "telling" not in arrays or "tiles" not in arrays:
        return Reconstructions(originals, labels, telling, rebuilt, None, legend)
    rows, columns = arrays["tiles"].tolist()
    if originals.ndim != 4 or min(rows, columns) < 1 or rows * columns > len(originals):
        raise ValueError("its tiles make no whole photograph")
    return Reconstructions(originals, labels, telling, rebuilt, (rows, columns))


def mosaic(tiles: NDArray[Any], grid: tuple[int, int]) -> NDArray[Any]:
    """Photographs ``(N, C, rows * h, columns * w)`` of tiles ``(N * rows * columns, C, h, w)`` in reading order.

    Tiles that make no whole photograph are left out.
    """
    rows, columns = grid
    _, channels, height, width = tiles.shape
    n = len(tiles) // (rows * columns)
    placed = tiles[: n * rows * columns].reshape(n, rows, columns, channels, height, width)
    return placed.transpose(0, 3, 1, 4, 2, 5).reshape(n, channels, rows * height, columns * width)
