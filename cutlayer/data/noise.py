"""Random inputs of any shape, where there are no data: for the times and sizes of a device, and for value ranges."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.modality import TOKENS
from cutlayer.data.parts import deal
from cutlayer.data.splits import NO_CLASS, Splits
from cutlayer.data.stored import Stored
from cutlayer.sequences import PAD
from cutlayer.spec import TensorSpec
from cutlayer.tensors import random_batch

RANDOM = "random"
"""Name of this data set."""
N = 8000
"""Inputs in all four parts."""
SHAPE = (3, 32, 32)


class Noise:
    """Uniform in [0, 1], each input from a seed of its own; see `cutlayer.data.stored.Source`."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.shape, self._seed = shape, seed

    def __getitem__(self, place: int, /) -> NDArray[np.float32]:
        return np.random.default_rng([self._seed, place]).random(self.shape, np.float32)


class NamedNoise:
    """Random inputs of a model by name and type, joined where there are several; see `cutlayer.data.stored.Source`."""

    def __init__(self, inputs: Mapping[str, TensorSpec], seed: int) -> None:
        self._inputs, self._seed = dict(inputs), seed
        self.dtype = random_batch(inputs, 0).dtype
        self.shape = () if len(inputs) > 1 else next(iter(inputs.values())).shape

    def __getitem__(self, place: int, /) -> NDArray[Any]:
        # Not a scalar, which has no batch of its own.
        drawn = random_batch(self._inputs, 1, [self._seed, place]).reshape(self.shape)
        # In a sentence, padding would be no token.
        return np.maximum(drawn, PAD + 1) if [*self._inputs] == [TOKENS] else drawn


def load(
    root: Path | None, seed: int, shape: tuple[int, ...] | None = None, otherwise: tuple[int, ...] = SHAPE
) -> Splits:
    """Random values of the model's shape, without classes: 4,000 train, 2,000 auxiliary, 1,000 private, 1,000 test.

    `root` is not used. Values are uniform in [0, 1].
    """
    data = Stored(Noise(shape or otherwise, seed), np.full(N, NO_CLASS, np.int64))
    return Splits(RANDOM, (), *deal(data, (4, 2, 1, 1), np.random.default_rng(seed)))


def load_inputs(inputs: Mapping[str, TensorSpec], seed: int) -> Splits:
    """The same, for a model of other inputs than one image.

    Args:
        inputs: One sample of each by name, as `Manifest.data_inputs`.
        seed: The same gives the same inputs.
    """
    data = Stored(NamedNoise(inputs, seed), np.full(N, NO_CLASS, np.int64))
    return Splits(RANDOM, (), *deal(data, (4, 2, 1, 1), np.random.default_rng(seed)))
