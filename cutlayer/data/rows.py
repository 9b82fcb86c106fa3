"""Rows of a table as inputs: each column a number in [0, 1], or one 0 or 1 for each of its words.

A column is one of numbers where every cell is a number, and is scaled by its least and its greatest; one of words where
no cell is, its words in alphabetical order. Columns stay in their order, and equal rows stay in one part.

A table of one's own is a file ``.csv`` whose first line names the columns, separated by commas, semicolons or tabs. The
column that is named label, class, target or y holds the classes; all others are what a device sends.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import decoded, read_bytes, reason
from cutlayer.data.modality import Column, table
from cutlayer.data.parts import dealt
from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import DataError

TOLERANCE = 0.319
"""A number counts as right within so many standard deviations of its column (TabLeak, ICML 2023)."""
LABELS = ("label", "class", "target", "y")
"""Names that the column of the classes may have, in any case."""
MOST_BYTES, MOST_WORDS, MOST_CLASSES = 1 << 30, 256, 256
"""Bytes of a file, words of a column, and classes, at most."""
_DELIMITERS = ",;\t"


def rows_of(cells: Mapping[str, Sequence[str]], source: str) -> tuple[NDArray[np.float32], tuple[Column, ...]]:
    """The numbers of each row, ``(N, n)``, and the columns that they encode.

    Args:
        cells: By the name of a column what each row says, all of one length.
        source: Where they are from, for messages.

    Raises:
        DataError: A cell is empty or not finite, or a column holds numbers and words, the same in each row, or too many
            words.
    """
    parts, columns, first = [], list[Column](), 0
    for name, said in cells.items():
        numbers = _numbers(name, said, source)
        if len({*said}) == 1:
            raise DataError(
                f"The column {name!r} of {source} says {said[0]!r} in each row, so that there is nothing to send; "
                "remove it."
            )
        if numbers is None:
            part, column = _of_words(name, said, first, source)
        else:
            part, column = of_numbers(name, numbers, first)
        parts.append(part)
        columns.append(column)
        first = column.stop
    return np.concatenate(parts, axis=1), tuple(columns)


def of_numbers(name: str, numbers: NDArray[np.float64], first: int) -> tuple[NDArray[np.float32], Column]:
    """A column of numbers that are not all equal, as ``(N, 1)`` in [0, 1]; its first number has this place."""
    low, high = float(numbers.min()), float(numbers.max())
    column = Column(name, first, low=low, high=high, tolerance=TOLERANCE * float(numbers.std()))
    scaled: NDArray[np.float32] = ((numbers - low) / (high - low)).astype(np.float32)[:, None]
    return scaled, column


def _of_words(name: str, said: Sequence[str], first: int, source: str) -> tuple[NDArray[np.float32], Column]:
    words = tuple(sorted({*said}))
    if len(words) > MOST_WORDS:
        raise DataError(
            f"The column {name!r} of {source} holds {len(words):,} different words, and at most {MOST_WORDS} are "
            "encoded; remove it, or write numbers."
        )
    flags: NDArray[np.float32] = (np.array(said)[:, None] == np.array(words)).astype(np.float32)
    return flags, Column(name, first, words)


def _numbers(name: str, said: Sequence[str], source: str) -> NDArray[np.float64] | None:
    """The cells of a column as numbers; None where none is one."""
    numbers, word = list[float](), ""
    for row, cell in enumerate(said, 1):
        if not cell.strip():
            _refuse_gap(name, said, row, source)
        try:
            numbers.append(float(cell))
        except ValueError:
            word = word or cell
            continue
        if not math.isfinite(numbers[-1]):
            raise DataError(
                f"The column {name!r} of {source} says {cell!r} in row {row:,}; write a finite number, or remove the "
                "row."
            )
    if numbers and word:
        raise DataError(
            f"The column {name!r} of {source} holds {len(numbers):,} numbers and {len(said) - len(numbers):,} words, "
            f"such as {word!r:.40}; write numbers alone, or words alone."
        )
    return np.array(numbers) if numbers else None


def _refuse_gap(name: str, said: Sequence[str], row: int, source: str) -> NoReturn:
    """Refuse a column whose first empty cell is in this row."""
    gaps, what = sum(not cell.strip() for cell in said), f"The column {name!r} of {source} is empty in"
    if gaps == len(said):
        raise DataError(f"{what} all {gaps:,} rows; remove the column.")
    more = f", as in {gaps - 1:,} more" if gaps > 1 else ""
    raise DataError(f"{what} row {row:,}{more} of {len(said):,}; fill it in, or remove the row.")


def from_rows(
    name: str,
    classes: tuple[str, ...],
    rows: NDArray[np.float32],
    columns: tuple[Column, ...],
    labels: NDArray[np.int64],
    seed: int,
) -> Splits:
    """Deal out the rows of a table to the four parts, as 4 : 2 : 1 : 1, each class in the same proportions.

    Args:
        name: Name of the data set.
        classes: Names of the classes.
        rows: ``(N, n)`` in [0, 1].
        columns: What the numbers of a row encode.
        labels: ``(N,)``.
        seed: Decides which row goes to which part.
    """
    groups = np.unique(rows, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
    return Splits(name, classes, *dealt([Dataset(rows, labels, table(columns), groups)], seed))


def open_table(path: Path, name: str, seed: int) -> Splits:
    """The four parts of a table of one's own; see the module.

    Args:
        path: The file.
        name: Name of the data set.
        seed: Decides which row goes to which part.

    Raises:
        DataError: The file cannot be read, or is no such table.
    """
    try:
        text = decoded(read_bytes(path, MOST_BYTES))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}.") from None
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    try:
        names, *lines = [line for line in csv.reader(io.StringIO(text), delimiter=delimiter) if line] or [[]]
    except csv.Error as error:
        raise DataError(f"{path} is no table: {error}.") from None
    names, lines = [name.strip() for name in names], [[cell.strip() for cell in line] for line in lines]
    _check(path, names, lines)
    cells = {column: [line[k] for line in lines] for k, column in enumerate(names)}
    own = next(name for name in names if name.lower() in LABELS)
    said = cells.pop(own)
    if "" in said:
        _refuse_gap(own, said, said.index("") + 1, str(path))
    classes = tuple(sorted({*said}))
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise DataError(f"{path} names {len(classes):,} classes in its rows; 2 to {MOST_CLASSES} are needed.")
    labels = np.array([classes.index(one) for one in said], np.int64)
    return from_rows(name, classes, *rows_of(cells, str(path)), labels, seed)


def _check(path: Path, names: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Refuse a table that lacks names, a column of classes, rows, or cells."""
    labels = [name for name in names if name.lower() in LABELS]
    if "" in names and len(names) > 1:
        raise DataError(
            f"{path} gives no name to its column {names.index('') + 1} in its first line; name it, or remove it, as "
            "pandas does with index=False where it holds the numbers of the rows."
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path} names the column {twice[0]!r} more than once in its first line; name each once.")
    if len(labels) != 1:
        found = f"it has {' and '.join(labels)}" if labels else f"it has {', '.join(names)[:200]}"
        raise DataError(
            f"{path} needs one column of classes, named {', '.join(LABELS[:-1])} or {LABELS[-1]}, and {found}; the "
            "first line names the columns."
        )
    if len(names) < 2 or not lines:
        raise DataError(f"{path} holds {len(names)} columns and {len(lines):,} rows; classes and inputs are needed.")
    for row, line in enumerate(lines, 1):
        if len(line) != len(names):
            raise DataError(
                f"{path} has {len(line)} cells in row {row:,}, and its first line names {len(names)} columns; write "
                "one cell for each column."
            )
