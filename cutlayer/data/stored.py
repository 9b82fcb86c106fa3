"""Inputs that stay in their files until they are asked for: a device reads the images that it sends, and no others."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.modality import IMAGE, Modality
from cutlayer.data.parts import as_images
from cutlayer.data.splits import Dataset, known_at
from cutlayer.errors import DataError


class Unreadable(DataError):
    """One file of many cannot be read: it is left out, named and counted, and the others are used."""


class Source(Protocol):
    """Inputs by their number."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""

    def __getitem__(self, place: int, /) -> NDArray[np.float32]:
        """One input, in the range of its modality.

        Raises:
            Unreadable: This input is damaged, which says nothing of the others.
            DataError: The whole cannot be used.
        """


class Pixels:
    """Images in arrays of bytes, such as a `numpy.memmap` of each of several files, read one image at a time.

    Args:
        arrays: ``(N, C, H, W)`` uint8 each; the images are numbered through all of them.
    """

    def __init__(self, *arrays: NDArray[np.uint8]) -> None:
        self.shape = arrays[0].shape[1:]
        self._arrays, self._ends = arrays, np.cumsum([len(array) for array in arrays])

    def __getitem__(self, place: int, /) -> NDArray[np.float32]:
        which = int(np.searchsorted(self._ends, place, side="right"))
        return as_images(self._arrays[which][place - int(self._ends[which])])


class Stored(Dataset):
    """Samples whose inputs are read when they are asked for.

    `one` reads one input. `inputs` reads all of them at each access; `loaded` keeps them.

    Args:
        source: The inputs, some of which are those of this part.
        labels: ``(N,)`` int64, of the samples of this part.
        places: ``(N,)``, the numbers of their inputs in the source.
        groups: See `Dataset`.
        modality: The kind of the inputs.
        attributes: See `Dataset`.
    """

    def __init__(
        self,
        source: Source,
        labels: NDArray[np.int64],
        places: NDArray[np.intp] | None = None,
        groups: NDArray[np.int64] | None = None,
        modality: Modality = IMAGE,
        attributes: NDArray[np.int8] | None = None,
    ) -> None:
        own = {"source": source, "labels": labels, "groups": groups, "modality": modality, "attributes": attributes}
        own["places"] = np.arange(len(labels)) if places is None else places
        self.__dict__.update(own)  # as the frozen base does, which takes no assignment

    source: Source
    places: NDArray[np.intp]

    @property
    def inputs(self) -> NDArray[np.float32]:
        """All inputs, read now."""
        return self.loaded()[0].inputs

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.source.shape

    def one(self, position: int) -> NDArray[np.float32]:
        """The input at a position, ``(1, *input.shape)``."""
        return self.source[int(self.places[position])][None]

    def at(self, positions: NDArray[np.intp] | slice) -> Stored:
        """The samples at these positions, in their order; nothing is read."""
        groups, attributes = known_at(self.groups, positions), known_at(self.attributes, positions)
        labels, places = self.labels[positions], self.places[positions]
        return Stored(self.source, labels, places, groups, self.modality, attributes)

    def loaded(self, most: int | None = None) -> tuple[Dataset, list[str]]:
        """The same samples in memory without those that cannot be read, and a sentence about each of these.

        Args:
            most: Reading ends after so many samples; all are read when None.
        """
        # Images are float32; other inputs of a model have types of their own.
        n = len(self) if most is None else min(len(self), most)
        inputs = np.empty((n, *self.shape), getattr(self.source, "dtype", np.float32))
        kept: list[int] = []
        faults = []
        for position, place in enumerate(self.places.tolist()):
            if len(kept) == n:
                break
            try:
                inputs[len(kept)] = self.source[place]
                kept.append(position)
            except Unreadable as error:
                faults.append(str(error))
        positions = np.array(kept, np.intp)
        groups, attributes = known_at(self.groups, positions), known_at(self.attributes, positions)
        return Dataset(inputs[: len(kept)], self.labels[positions], self.modality, groups, attributes), faults

    def first_readable(self, n: int) -> tuple[Stored, list[str]]:
        """The first `n` samples of those that `loaded` keeps, still in their files, and a sentence about each other."""
        kept: list[int] = []
        faults = []
        for position, place in enumerate(self.places.tolist()):
            if len(kept) == n:
                break
            try:
                _ = self.source[place]
                kept.append(position)
            except Unreadable as error:
                faults.append(str(error))
        return self.at(np.array(kept, np.intp)), faults
