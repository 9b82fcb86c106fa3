"""Labelled images, and the four parts that never share one: train, auxiliary, private, test."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.spec import TensorSpec


@dataclass(frozen=True)
class Dataset:
    """Images with labels.

    Attributes:
        inputs: ``(N, C, H, W)`` float32 in [0, 1].
        labels: ``(N,)`` int64.
    """

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, n: int) -> "Dataset":
        """The first `n`."""
        return Dataset(self.inputs[:n], self.labels[:n])


@dataclass(frozen=True)
class Splits:
    """A data set cut into parts that are disjoint by construction.

    Attributes:
        name: As in `cutlayer.registry.DATASETS`.
        classes: Names of the classes, by label.
        train: Trains the victim's model.
        auxiliary: The attacker's.
        private: The victims' inputs, seen by nobody but their devices.
        test: Measures accuracy.
    """

    name: str
    classes: tuple[str, ...]
    train: Dataset
    auxiliary: Dataset
    private: Dataset
    test: Dataset

    @property
    def input(self) -> TensorSpec:
        """What one image looks like."""
        return TensorSpec(tuple(self.train.inputs.shape[1:]), "float32", 0.0, 1.0)
