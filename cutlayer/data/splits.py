"""Labelled inputs, and the four parts that never share one: train, auxiliary, private, test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.modality import IMAGE, Column, Modality
from cutlayer.errors import DataError
from cutlayer.spec import TensorSpec

PARTS = ("train", "auxiliary", "private", "test")
NO_CLASS = -1
"""The label of a sample whose class is not known."""
NAMED = 5
"""Files that a sentence names, at most."""


Known = TypeVar("Known", NDArray[np.int64], NDArray[np.int8])


def known_at(values: Known | None, positions: NDArray[np.intp] | slice) -> Known | None:
    """The values at these positions; None where none are known."""
    return None if values is None else values[positions]


@dataclass(frozen=True)
class Dataset:
    """Inputs with labels.

    Attributes:
        inputs: ``(N, *input.shape)`` in the type and range of the modality: images ``(N, C, H, W)`` float32 in [0, 1],
            sentences ``(N, T)`` int64.
        labels: ``(N,)`` int64.
        modality: The kind of the inputs.
        groups: ``(N,)`` int64, equal for samples that resemble each other beyond their class: crops of one photograph,
            pictures of one person. None where each sample stands for itself.
        attributes: ``(N, A)`` int8, each 0 or 1: what is known of the samples beside their class; see
            `Splits.attributes`. None where nothing is.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    modality: Modality = IMAGE
    groups: NDArray[np.int64] | None = None
    attributes: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.inputs.shape[1:]

    def one(self, position: int) -> NDArray[Any]:
        """The input at a position, ``(1, *input.shape)``."""
        return self.inputs[position : position + 1]

    def at(self, positions: NDArray[np.intp] | slice) -> "Dataset":
        """The samples at these positions, in their order."""
        inputs, labels = self.inputs[positions], self.labels[positions]
        groups, attributes = known_at(self.groups, positions), known_at(self.attributes, positions)
        return replace(self, inputs=inputs, labels=labels, groups=groups, attributes=attributes)

    def take(self, n: int | None) -> "Dataset":
        """The first `n` samples; all of them when None."""
        return self.at(np.s_[:n])

    def held_out(self, n: int) -> NDArray[np.bool_]:
        """``(N,)``, true for the samples by which settings are chosen: at least the last `n`, and whole groups.

        A sample that is held out shares its group with none that is not, for an error on crops of a photograph that
        others were trained on says nothing about other photographs. At least one group is left, if there are two; of a
        single group the last `n` samples are held out.
        """
        mask = np.zeros(len(self), np.bool_)
        if self.groups is None or (self.groups == self.groups[-1]).all():
            mask[len(self) - n :] = True
            return mask
        for group in self.groups[::-1]:
            more = mask | (self.groups == group)
            if mask.sum() >= n or more.all():
                break
            mask = more
        return mask

    def loaded(self, most: int | None = None) -> tuple["Dataset", list[str]]:
        """The same samples in memory, or the first of them, and a sentence about each unreadable one; see `Stored`."""
        return self.take(most), []

    def first_readable(self, n: int) -> tuple["Dataset", list[str]]:
        """The first `n` samples of those that `loaded` keeps, and a sentence about each other before them."""
        return self.take(n), []


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
        notes: What a reader of the results should know of the data: files that are left out, and their number.
        attributes: Names of what is known of each sample beside its class: a smile, a diagnosis, a loan.
        usual: The mean input of the victims' distribution, ``(*input.shape)``, where the auxiliary samples are of
            another one; None where their mean is it.
        words: The token of each id, where the inputs are tokens.
        tokenizer: What makes tokens of text, the content of a `tokenizer.json`; empty where the inputs are no tokens.
    """

    name: str
    classes: tuple[str, ...]
    train: Dataset
    auxiliary: Dataset
    private: Dataset
    test: Dataset
    tiles: tuple[int, int] | None = field(default=None, kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    attributes: tuple[str, ...] = field(default=(), kw_only=True)
    usual: NDArray[np.float32] | None = field(default=None, kw_only=True)
    words: tuple[str, ...] = field(default=(), kw_only=True)
    tokenizer: str = field(default="", kw_only=True)

    @property
    def parts(self) -> dict[str, Dataset]:
        """The four parts by name."""
        return {name: getattr(self, name) for name in PARTS}

    @property
    def modality(self) -> Modality:
        """The kind of the inputs, the same in all parts."""
        return self.train.modality

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, where the inputs are rows of a table."""
        return self.modality.columns

    @property
    def floor(self) -> NDArray[Any]:
        """What anybody guesses before anything arrives, ``(*input.shape)``: the mean input, or the usual word."""
        return self.modality.floor(self.auxiliary.inputs) if self.usual is None else self.usual

    @property
    def input(self) -> TensorSpec:
        """What one input looks like."""
        return self.modality.spec(*self.train.shape)

    @property
    def alone(self) -> bool:
        """Whether all samples are in the test part, because there are too few for several; see `dealt`."""
        return len(self.test) == sum(map(len, self.parts.values()))

    def check_full(self) -> None:
        """Raise `DataError` where a part is empty, so that somebody has nothing."""
        empty = [name for name, part in self.parts.items() if not len(part)]
        if empty:
            n, (one, several) = sum(map(len, self.parts.values())), self.modality.one
            raise DataError(
                f"{self.name} holds {n:,} {one if n == 1 else several}, too few, or too many of them equal: the model, "
                "the attackers, the victims and the test need some of their own, at least 8 in all, and a part stays "
                f"empty ({', '.join(empty)}). A device alone sends so few: `cutlayer edge FOLDER --data {self.name}`."
            )

    def loaded(self, most: Mapping[str, int] | None = None) -> "Splits":
        """The same parts in memory; what cannot be read is left out, and said in `notes`.

        Args:
            most: Number of samples by the name of a part of which no more are needed.
        """
        loaded = (part.loaded((most or {}).get(name)) for name, part in self.parts.items())
        parts, found = zip(*loaded, strict=True)
        faults = [fault for faults in found for fault in faults]
        notes = (*self.notes, *([unreadable(faults)] if faults else []))
        return replace(self, **dict(zip(PARTS, parts, strict=True)), notes=notes)


def unreadable(faults: Sequence[str]) -> str:
    """A sentence that counts the files that cannot be read, and names the first of them."""
    more = f" and {len(faults) - NAMED:,} more" if len(faults) > NAMED else ""
    files = "1 file cannot be read and is" if len(faults) == 1 else f"{len(faults):,} files cannot be read and are"
    return f"{files} left out: {'; '.join(faults[:NAMED])}{more}."
