"""Data in which the attacker holds no sample of the classes that the victim was trained on.

The data sets of pictures give both sides the same classes, so that an attacker who represents a class needs no more
than to label its own samples. Here some classes are withheld from it, as other people's faces are in life.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import ConfigError, near
from cutlayer.spec import TensorSpec


@dataclass(frozen=True)
class ClassData:
    """A victim's classes, and an attacker's samples.

    Attributes:
        name: Name of the data set.
        classes: Names of all classes: the victim's, and then those of which only the attacker has samples.
        n_private: Number of the victim's classes, which are ``0`` to ``n_private - 1``.
        train: The victim's training samples.
        held_out: Further samples of the victim's classes.
        auxiliary: The attacker's samples, of the other classes, or of the same where these are shared. Labels number
            `classes`.
        others: Samples of the attacker's classes that nobody holds, from which judges learn them; there are none where
            all samples of these classes are the attacker's, as those of other people's faces are.
    """

    name: str
    classes: tuple[str, ...]
    n_private: int
    train: Dataset
    held_out: Dataset
    auxiliary: Dataset
    others: Dataset

    @property
    def shared(self) -> bool:
        """Whether the attacker's samples are of the victim's classes."""
        return bool((self.auxiliary.labels < self.n_private).any())

    @property
    def input(self) -> TensorSpec:
        """One input."""
        return self.train.modality.spec(*self.train.shape)


def withheld(splits: Splits, names: Sequence[str] | None = None) -> ClassData:
    """Give some classes to the victim alone, or keep the classes as the data set deals them.

    Args:
        splits: The data. Where the attacker's people are in no other part already, as in data sets of faces, the
            victim's classes are those of the training part, whatever `names` leaves out.
        names: Names of the classes that the attacker has no sample of, and the victim no others; None for all classes
            of the training part.

    Raises:
        ConfigError: A name is unknown or stands twice, or no class, or no sample of one, is left for one of the sides.
    """
    have = set(np.unique(splits.train.labels).tolist())
    if names is None:
        private = sorted(have)
    else:
        for name in names:
            if name not in splits.classes:
                raise ConfigError(f"{splits.name} has no class named {name!r:.80}; {near(name, splits.classes)}")
        private = [splits.classes.index(name) for name in names]
        if len(set(private)) < len(private) or not private:
            raise ConfigError(
                f"withhold takes the names of classes, each once; {', '.join(names) or 'none'} was given."
            )
        if lacking := [splits.classes[label] for label in private if label not in have]:
            raise ConfigError(
                f"The victim of {splits.name} has no sample of {', '.join(lacking)}, which is one of the attacker's "
                f"people; withhold some of {', '.join(splits.classes[label] for label in sorted(have)[:10])}."
            )
    theirs = set(np.unique(splits.auxiliary.labels).tolist())
    others = sorted(theirs - set(private)) if names is not None or not theirs & set(private) else []
    if names is not None and not others:
        raise ConfigError(f"No class of {splits.name} is left for the attacker; withhold fewer of its classes.")
    order = [*private, *others]
    number = np.full(len(splits.classes), -1)
    number[order] = np.arange(len(order))

    def of(data: Dataset, labels: Sequence[int]) -> Dataset:
        kept = data.at(np.flatnonzero(np.isin(data.labels, labels)))
        return Dataset(kept.inputs, number[kept.labels], kept.modality, kept.groups, kept.attributes)

    def further(labels: Sequence[int]) -> Dataset:
        return joined(of(splits.private, labels), of(splits.test, labels))

    classes = tuple(splits.classes[label] for label in order)
    return ClassData(
        splits.name, classes, len(private), of(splits.train, private), further(private),
        of(splits.auxiliary, others or private), joined(of(splits.train, others), further(others)),
    )  # fmt: skip


def joined(first: Dataset, second: Dataset) -> Dataset:
    """The samples of both."""
    inputs: NDArray[np.float32] = np.concatenate([first.inputs, second.inputs])
    return Dataset(inputs, np.concatenate([first.labels, second.labels]), first.modality)


def refuse_shared(data: ClassData) -> None:
    """Refuse an attacker's set with samples of the victim's classes.

    Raises:
        ConfigError: It has some; the message counts them.
    """
    found = data.auxiliary.labels[data.auxiliary.labels < data.n_private]
    if len(found):
        raise ConfigError(
            f"The attacker's {len(data.auxiliary):,} samples hold {len(found):,} of {len(np.unique(found))} classes "
            "that are withheld from it; leave these out."
        )
