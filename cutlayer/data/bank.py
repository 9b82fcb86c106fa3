"""Bank Marketing: calls of a bank to its clients, and whether they subscribed to a deposit, from the original files.

S. Moro, P. Cortez, P. Rita, "A data-driven approach to predict the success of bank telemarketing", Decision Support
Systems 2014, https://archive.ics.uci.edu/dataset/222/bank+marketing.

Columns are encoded as `cutlayer.data.rows` says. `duration`, the length of the call, is known only after it; it is
kept, and tells much of the answer. Equal rows stay in one part.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cutlayer.data.listed import Archive
from cutlayer.data.modality import table
from cutlayer.data.parts import dealt
from cutlayer.data.rows import rows_of
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
    cells = {key: [row[key] for row in rows] for key in rows[0] if key != "y"}
    inputs, columns = rows_of(cells, str(path))
    labels = np.array([CLASSES.index(row["y"]) for row in rows], np.int64)
    attributes = np.array([[row[key] == "yes" for key in ATTRIBUTES] for row in rows], np.int8)
    # Some clients are equal in all columns.
    groups = np.unique([row.tobytes() for row in inputs], return_inverse=True)[1].astype(np.int64)
    data = Dataset(inputs, labels, table(columns), groups, attributes)
    return Splits(name, CLASSES, *dealt([data], seed), attributes=ATTRIBUTES)
