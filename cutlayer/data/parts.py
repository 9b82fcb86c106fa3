"""The four parts of a data set, which never share a sample, from the files that its authors publish."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import ConfigError, DataError

_GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, without their whole part, are spread evenly over 0 to 1, however many there are."""
SHARES = (4, 2, 1, 1)
"""How data of one's own is shared out: train, auxiliary, private and test."""


def deal(data: Dataset, shares: tuple[int, ...], rng: np.random.Generator) -> list[Dataset]:
    """Shuffle, and deal out in disjoint parts whose sizes are proportional to the shares."""
    edges = np.cumsum(shares)[:-1] * len(data) // sum(shares)
    return [data.at(positions) for positions in np.split(rng.permutation(len(data)), edges)]


def mixed(images: Mapping[int, NDArray[np.float32]], rng: np.random.Generator) -> Dataset:
    """The images of each label as one part, in random order; each label is a group."""
    labels = np.repeat(np.array(list(images)), [len(own) for own in images.values()])
    inputs = np.ascontiguousarray(np.concatenate(list(images.values())))
    return Dataset(inputs, labels, groups=labels).at(rng.permutation(len(labels)))


def from_train_and_test(name: str, classes: tuple[str, ...], train: Dataset, test: Dataset, seed: int) -> Splits:
    """Halve both: the training samples into train and auxiliary, the test samples into private and test."""
    rng = np.random.default_rng(seed)
    return Splits(name, classes, *deal(train, (1, 1), rng), *deal(test, (1, 1), rng))


def from_one(name: str, classes: tuple[str, ...], data: Dataset, seed: int) -> Splits:
    """Deal out one set to train, auxiliary, private and test as 4 : 2 : 1 : 1."""
    return Splits(name, classes, *deal(data, SHARES, np.random.default_rng(seed)))


def embedded(data_set: str, module: str, package: str) -> Any:
    """The module of an installed package that holds the images of a data set."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise lacks(data_set, package) from None


def lacks(data_set: str, package: str) -> ConfigError:
    """The error that a package with the images of a data set is not installed."""
    return ConfigError(f"The data set {data_set!r} needs {package}: pip install 'cutlayer[lab]'.")


def as_images(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert bytes of 0 to 255 to float32 in [0, 1]."""
    return pixels.astype(np.float32) / np.float32(255)


def labelled(
    inputs: int, where: Path, labels: NDArray[Any], where_labels: Path, classes: tuple[str, ...]
) -> NDArray[np.int64]:
    """Labels as int64, once they are known to belong to so many inputs and to these classes.

    Args:
        inputs: Number of inputs.
        where: File of the inputs.
        labels: ``(N,)`` integers.
        where_labels: File of the labels.
        classes: Names of the classes.

    Raises:
        DataError: The numbers differ, or a label is not the number of a class.
    """
    if len(labels) != inputs:
        raise DataError(
            f"{where} holds {inputs:,} inputs and {where_labels} holds {len(labels):,} labels, so they do not belong "
            "together; fetch both again."
        )
    outside = labels[(labels < 0) | (labels >= len(classes))]
    if len(outside):
        raise DataError(
            f"{where_labels} holds the label {outside[0]}, and the data set has {len(classes)} classes, 0 to "
            f"{len(classes) - 1}; put the labels of this data set there."
        )
    return labels.astype(np.int64)


def dealt(sets: Sequence[Dataset], seed: int) -> list[Dataset]:
    """The four parts of data of one's own: each class in the same proportions, and no group in two parts.

    Args:
        sets: One set, dealt out to train, auxiliary, private and test as 4 : 2 : 1 : 1; or one for training and one for
            testing, which are halved: train and auxiliary, private and test.
        seed: Decides which sample goes to which part. What is too few for that is all in the test part, in its order,
            from which a device sends; `Splits.check_full` refuses the empty parts.

    Raises:
        DataError: There are no samples.
    """
    rng = np.random.default_rng(seed)
    if not all(map(len, sets)):
        one = sets[0].modality.one[1]
        raise DataError(f"There are no {one} in it, or in one of its two parts.")
    if len(sets) == 1 and too_few(sets[0]):
        return [*[sets[0].take(0)] * 3, sets[0]]
    return [part for data in sets for part in _shared(data, SHARES if len(sets) == 1 else (1, 1), rng)]


def too_few(data: Dataset) -> bool:
    """Whether there are too few samples, or too few groups of them, for a model, attackers, victims and a test."""
    groups = len(data) if data.groups is None else len(np.unique(data.groups))
    return len(data) < sum(SHARES) or groups < len(SHARES)


def _shared(data: Dataset, shares: tuple[int, ...], rng: np.random.Generator) -> list[Dataset]:
    order = rng.permutation(len(data))
    labels, groups = data.labels[order], order if data.groups is None else data.groups[order]
    units, first, unit, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    owner, edges = np.empty(len(units), np.intp), np.cumsum(shares) / sum(shares)
    # A class begins anywhere, and the classes begin evenly spread, so that the rounding of small ones favors no part.
    begins = (rng.random() + _GOLDEN * np.arange(len(np.unique(labels[first])))) % 1
    for begin, label in zip(begins, np.unique(labels[first]), strict=True):
        own = np.flatnonzero(labels[first] == label)
        own = own[np.argsort(first[own])]  # units are sorted by their number, and are to be in random order
        middles = (np.cumsum(sizes[own]) - sizes[own] / 2) / sizes[own].sum()
        owner[own] = np.searchsorted(edges, (middles + begin) % 1, side="right").clip(max=len(shares) - 1)
    for part in range(len(shares)):
        counts = np.bincount(owner, minlength=len(shares))
        if not counts[part] and counts.max() > 1:
            owner[np.flatnonzero(owner == counts.argmax())[-1]] = part
    # A part takes a run of each class, which is mixed again: the first samples of a part stand for all of it.
    return [data.at(rng.permutation(order[owner[unit] == part])) for part in range(len(shares))]
