"""Sentences of one's own: a text file with one in each line, or a .csv with a column ``text``, perhaps with labels.

Where a model has no tokenizer of its own, its words are the most frequent ones of these sentences, counted here. So the
vocabulary tells which words occur in them, as a published vocabulary would not.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cutlayer.bounded import decoded, read_bytes, reason
from cutlayer.data.parts import dealt
from cutlayer.data.rows import LABELS
from cutlayer.data.splits import NO_CLASS, Dataset, Splits
from cutlayer.data.text import Tokenizer
from cutlayer.data.vocabulary import counted
from cutlayer.errors import DataError

TEXT = "text"
"""Name of the column of the sentences, in any case."""
LENGTH = 32
"""Tokens of a sentence at most, where neither the user nor the model says."""
MOST_BYTES, MOST_CLASSES = 1 << 30, 256
"""Bytes of a file, and classes, at most."""
_DELIMITERS = ",;\t"


def is_sentences(path: Path) -> bool:
    """Whether a table is one of sentences: its first line names a column `TEXT`."""
    try:
        with path.open("rb") as file:
            header = file.readline(1 << 16).decode("utf-8-sig", "replace")
    except OSError:
        return False
    names = next(csv.reader([header.strip()], delimiter=max(_DELIMITERS, key=header.count)), [])
    return TEXT in [name.strip().lower() for name in names]


def open_sentences(path: Path, name: str, seed: int, length: int | None, tokenizer: Tokenizer | None) -> Splits:
    """The four parts of sentences of one's own; a sentence that occurs twice stays in one part.

    Args:
        path: A .txt or a .csv file in UTF-8.
        name: Name of the data set.
        seed: Decides which sentence goes to which part.
        length: Tokens of a sentence at most, what is longer is cut off; `LENGTH` if None.
        tokenizer: What makes tokens of text; the most frequent words of the sentences if None.

    Raises:
        DataError: The file cannot be read, or holds no sentences or too many classes.
    """
    try:
        text = decoded(read_bytes(path, MOST_BYTES))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}.") from None
    if path.suffix.lower() == ".csv":
        sentences, classes, labels = _table(path, text)
    else:
        sentences = [sentence for line in text.splitlines() if (sentence := " ".join(line.split()))]
        classes, labels = (), [NO_CLASS] * len(sentences)
    if not sentences:
        below = " below the first" if path.suffix.lower() == ".csv" else ""
        raise DataError(f"{path} holds no sentences; write one in each line{below}.")
    opened = tokenizer or Tokenizer(counted(sentences), f"the tokenizer of {path.name}")
    ids = opened.ids(sentences, length or LENGTH)
    groups = np.unique(ids, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
    data = Dataset(ids, np.array(labels, np.int64), opened.modality, groups)
    cut = int(sum(opened.ids(sentences, ids.shape[1] + 1)[:, -1] != 0))
    notes = (f"{cut:,} of {len(ids):,} sentences of {name} are cut off after {ids.shape[1]} tokens.",) if cut else ()
    return Splits(
        name, classes, *dealt([data], seed), words=opened.words, tokenizer=opened.text, notes=notes
    )  # fmt: skip


def _table(path: Path, text: str) -> tuple[list[str], tuple[str, ...], list[int]]:
    """The sentences of a table, the names of its classes, and the class of each sentence."""
    header = text.partition("\n")[0]
    try:
        rows = csv.reader(io.StringIO(text), delimiter=max(_DELIMITERS, key=header.count))
        names, *lines = [line for line in rows if line]
        if not lines:
            return [], (), []
    except csv.Error as error:
        raise DataError(f"{path} is no table: {error}.") from None
    places = _places([name.strip().lower() for name in names], path)
    for row, line in enumerate(lines, 1):
        if len(line) != len(names) or not line[places[0]].strip():
            what = f"{len(line)} cells" if len(line) != len(names) else "no text"
            raise DataError(
                f"{path} has {what} in row {row:,}, and its first line names {len(names)} columns; write a sentence "
                "and one cell for each other column, in quotes where it has a comma."
            )
    sentences = [" ".join(line[places[0]].split()) for line in lines]
    if len(places) == 1:
        return sentences, (), [NO_CLASS] * len(sentences)
    said = [line[places[1]].strip() for line in lines]
    classes = tuple(sorted({*said}))
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise DataError(f"{path} names {len(classes):,} classes in its rows; 2 to {MOST_CLASSES} are needed.")
    return sentences, classes, [classes.index(one) for one in said]


def _places(names: Sequence[str], path: Path) -> list[int]:
    """Where the table has its text, and its labels if it has any."""
    labels = [name for name in names if name in LABELS]
    if names.count(TEXT) != 1 or len(labels) > 1:
        raise DataError(
            f"{path} names the columns {', '.join(names)[:200]}; one named {TEXT}, and at most one of the classes, "
            f"named {', '.join(LABELS[:-1])} or {LABELS[-1]}, are read."
        )
    return [names.index(name) for name in (TEXT, *labels)]
