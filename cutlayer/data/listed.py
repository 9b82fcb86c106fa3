"""Data sets whose authors publish pictures in folders, and lists of what is to be seen in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import decoded, read_bytes, reason
from cutlayer.data.images import SUFFIXES, ImageFiles
from cutlayer.data.listing import visible
from cutlayer.data.parts import dealt
from cutlayer.data.splits import Dataset, Splits, known_at
from cutlayer.data.stored import Stored
from cutlayer.errors import DataError

_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Archive:
    """What is expected in the folder of a data set.

    Attributes:
        folder: The folder in that of the data sets.
        files: The files and folders in it.
        source: Where they are obtained.
    """

    folder: str
    files: str
    source: str

    def missing(self, path: Path) -> DataError:
        """The error that a file or a folder is missing."""
        return DataError(
            f"{path} is missing; name the folder that holds {self.folder} with --data-root or CUTLAYER_DATA. Expected "
            f"in {self.folder} are {self.files} ({self.source})."
        )

    def text(self, path: Path) -> str:
        """The content of a list.

        Raises:
            DataError: The file is missing, or is no text.
        """
        if not path.is_file():
            raise self.missing(path)
        try:
            return decoded(read_bytes(path, _MOST_BYTES))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {reason(error)}.") from None

    def rows(self, path: Path, columns: Sequence[str], delimiter: str = ",") -> list[dict[str, str]]:
        """The rows of a table with a line of names, by these.

        Raises:
            DataError: The file is missing, lacks a column, or a row has other columns.
        """
        reader = csv.DictReader(io.StringIO(self.text(path)), delimiter=delimiter)
        lacking = [name for name in columns if name not in (reader.fieldnames or ())]
        if lacking:
            raise DataError(f"{path} has no column {lacking[0]!r}, and is damaged or another file; fetch it again.")
        try:
            rows = list(reader)
        except csv.Error as error:
            raise DataError(f"{path} is damaged: {error}; fetch it again.") from None
        if not rows:
            raise DataError(f"{path} has no rows; fetch it again.")
        for number, row in enumerate(rows, 2):
            if None in row or None in row.values():
                raise DataError(f"{path} is damaged: line {number} has other columns than the first; fetch it again.")
        return rows

    def pictures(self, *folders: Path) -> dict[str, Path]:
        """The image files below these folders by their name.

        Raises:
            DataError: There are none.
        """
        found = {path.name: path for folder in folders for path in visible(folder) if path.suffix.lower() in SUFFIXES}
        if not found:
            raise self.missing(folders[0])
        return found


@dataclass(frozen=True)
class Entries:
    """What the lists say of each picture, one entry for each.

    Attributes:
        names: File names.
        labels: Numbers of the classes, ``(N,)``.
        groups: Who or what is to be seen, ``(N,)``: pictures of one person are never in two parts.
        attributes: What else is known, ``(N, A)``, each 0 or 1; None where nothing is.
    """

    names: Sequence[str]
    labels: NDArray[np.int64]
    groups: Sequence[str]
    attributes: NDArray[np.int8] | None = None


def pictured(
    name: str,
    classes: tuple[str, ...],
    attributes: tuple[str, ...],
    entries: Entries,
    files: dict[str, Path],
    shape: tuple[int, ...],
    seed: int,
    held_back: Iterable[str] = (),
) -> Splits:
    """The four parts of listed pictures, each read when it is asked for.

    Args:
        name: Name of the data set.
        classes: Names of the classes.
        attributes: Names of the attributes.
        entries: What the lists say.
        files: Paths by file name; what is listed and not there is left out, and said.
        shape: ``(C, H, W)`` of the inputs.
        seed: Decides which picture goes to which part.
        held_back: File names of the pictures that the authors keep for testing: private and test come from these.
            Without any, all pictures are dealt out.

    Raises:
        DataError: None of the listed pictures is there.
    """
    there = np.array([position for position, file in enumerate(entries.names) if file in files], np.intp)
    if not len(there):
        raise DataError(f"The lists of {name} name {entries.names[0]} and others, none of which is there.")
    notes = []
    if len(there) < len(entries.names):
        notes.append(f"{len(entries.names) - len(there):,} of {len(entries.names):,} listed pictures are not there.")
    paths = [files[entries.names[position]] for position in there.tolist()]
    groups = np.unique(np.array(entries.groups), return_inverse=True)[1].astype(np.int64)[there]
    data = Stored(
        ImageFiles(paths, shape), entries.labels[there], groups=groups, attributes=known_at(entries.attributes, there)
    )
    kept = set(held_back)
    test = np.array([path.name in kept for path in paths])
    parts: list[Dataset] = [data]
    if test.any() and not test.all():
        known = ~test & np.isin(groups, groups[test])
        if known.any():
            notes.append(f"{int(known.sum()):,} pictures are left out: who or what they show is kept for testing.")
        parts = [data.at(np.flatnonzero(~test & ~known)), data.at(np.flatnonzero(test))]
    return Splits(name, classes, *dealt(parts, seed), notes=tuple(notes), attributes=attributes)
