"""Random inputs of any shape, where there are no data: for the times and sizes of a device, and for value ranges."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.parts import deal
from cutlayer.data.splits import NO_CLASS, Splits
from cutlayer.data.stored import Stored

N = 8000
"""Inputs in all four parts."""
SHAPE = (3, 32, 32)


class Noise:
    """Uniform in [0, 1], each input from a seed of its own; see `cutlayer.data.stored.Source`."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.shape, self._seed = shape, seed

    def __getitem__(self, place: int, /) -> NDArray[np.float32]:
        return np.random.default_rng([self._seed, place]).random(self.shape, np.float32)


def load(
    root: Path | None, seed: int, shape: tuple[int, ...] | None = None, otherwise: tuple[int, ...] = SHAPE
) -> Splits:
    """Random values of the model's shape, without classes: 4,000 train, 2,000 auxiliary, 1,000 private, 1,000 test.

    `root` is not used. Values are uniform in [0, 1].
    """
    data = Stored(Noise(shape or otherwise, seed), np.full(N, NO_CLASS, np.int64))
    return Splits("random", (), *deal(data, (4, 2, 1, 1), np.random.default_rng(seed)))
