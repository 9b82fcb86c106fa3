"""Bank Marketing: calls of a bank to its clients, and whether they subscribed to a deposit, from the original files.

S. Moro, P. Cortez, P. Rita, "A data-driven approach to predict the success of bank telemarketing", Decision Support
Systems 2014, https://archive.ics.uci.edu/dataset/222/bank+marketing.

A number is scaled to [0, 1] by the least and the greatest value of its column in the file; a column of words becomes
one 0 or 1 for each word, in alphabetical order. Columns stay in their order. `duration`, the length of the call, is
known only after it; it is kept, and tells much of the answer. Equal rows stay in one part.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.listed import Archive
from cutlayer.data.modality import TABLE
from cutlayer.data.parts import dealt
from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import DataError

CLASSES = ("no", "yes")
ATTRIBUTES = ("default", "housing", "loan")
"""Columns in which a client answers yes or no to a private question; unknown counts as no."""
_ARCHIVE = Archive(
    "bank-marketing", "bank-full.csv and bank-additional-full.csv",
    "https://archive.ics.uci.edu/dataset/222/bank+marketing",
)  # fmt: skip


def load(root: Path, seed: int) -> Splits:
    """Clients of a bank, 51 numbers each: 22,606 train, 11,303 auxiliary, 5,651 private, 5,651 test."""
    return _load("bank-marketing", root, "bank-full.csv", seed)


def load_additional(root: Path, seed: int) -> Splits:
    """Later clients and the economy, 63 numbers each: 20,594 train, 10,297 auxiliary, 5,149 private, 5,148 test."""
    return _load("bank-additional", root, "bank-additional-full.csv", seed)


def _load(name: str, root: Path, file: str, seed: int) -> Splits:
    path = root / "bank-marketing" / file
    rows = _ARCHIVE.rows(path, ("y", *ATTRIBUTES), delimiter=";")
    if strange := sorted({row["y"] for row in rows} - {*CLASSES}):
        raise DataError(f"{path} is damaged: an answer is {strange[0]!r}, not yes or no; fetch it again.")
    columns = {key: [row[key] for row in rows] for key in rows[0] if key != "y"}
    inputs = np.concatenate([_encoded(values) for values in columns.values()], axis=1)
    labels = np.array([CLASSES.index(row["y"]) for row in rows], np.int64)
    attributes = np.array([[row[key] == "yes" for key in ATTRIBUTES] for row in rows], np.int8)
    # Some clients are equal in all columns.
    groups = np.unique([row.tobytes() for row in inputs], return_inverse=True)[1].astype(np.int64)
    data = Dataset(inputs, labels, TABLE, groups, attributes)
    return Splits(name, CLASSES, *dealt([data], seed), attributes=ATTRIBUTES)


def _encoded(values: list[str]) -> NDArray[np.float32]:
    """A column as ``(N, 1)`` where it holds numbers, and ``(N, words)`` where it holds words."""
    try:
        numbers = np.array(values, np.float64)
    except ValueError:
        words = sorted({*values})
        flags: NDArray[np.float32] = (np.array(values)[:, None] == np.array(words)).astype(np.float32)
        return flags
    low, high = numbers.min(), numbers.max()
    scaled: NDArray[np.float32] = ((numbers - low) / (high - low or 1)).astype(np.float32)[:, None]
    return scaled
