"""Labelled inputs, and the four parts that never share one: train, auxiliary, private, test."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.modality import IMAGE, Modality
from cutlayer.spec import TensorSpec


@dataclass(frozen=True)
class Dataset:
    """Inputs with labels.

    Attributes:
        inputs: ``(N, *input.shape)`` float32 in the range of the modality: images ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)`` int64.
        modality: The kind of the inputs.
    """

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    modality: Modality = IMAGE

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, positions: NDArray[np.intp] | slice) -> "Dataset":
        """The samples at these positions, in their order."""
        return replace(self, inputs=self.inputs[positions], labels=self.labels[positions])

    def take(self, n: int | None) -> "Dataset":
        """The first `n` samples; all of them when None."""
        return self.at(np.s_[:n])


@dataclass(frozen=True)
class Splits:
    """A data set cut into parts that are disjoint by construction.

    Attributes:
        name: Name in `cutlayer.registry.DATASETS`.
        classes: Names of the classes, by label.
        train: Samples on which the victim's model is trained.
        auxiliary: The attacker's own samples.
        private: The victims' inputs, seen by nobody but their devices.
        test: Samples on which accuracy is measured.
        tiles: Rows and columns of tiles of one photograph, where the private part begins with whole photographs, tile
            by tile in reading order; None where it does not.
    """

    name: str
    classes: tuple[str, ...]
    train: Dataset
    auxiliary: Dataset
    private: Dataset
    test: Dataset
    tiles: tuple[int, int] | None = field(default=None, kw_only=True)

    @property
    def modality(self) -> Modality:
        """The kind of the inputs, the same in all parts."""
        return self.train.modality

    @property
    def input(self) -> TensorSpec:
        """What one input looks like."""
        return self.modality.spec(*self.train.inputs.shape[1:])
