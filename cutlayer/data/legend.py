"""What the numbers of an input stand for: the tokens of ids and the columns of rows, kept beside reconstructions."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.modality import TOKENS, Column
from cutlayer.data.splits import Splits
from cutlayer.data.words import Piece, pieces


@dataclass(frozen=True)
class Legend:
    """What a reader needs to read inputs that are no pictures.

    Attributes:
        pieces: How each token is written, by its id; empty where the inputs are no tokens.
        columns: The columns, where the inputs are rows of a table whose columns are known.
    """

    pieces: Mapping[int, Piece] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()

    def text(self) -> str:
        """The same as JSON, which `read_legend` reads; empty where there is nothing to say."""
        if not self.pieces and not self.columns:
            return ""
        said = {str(number): list(piece) for number, piece in self.pieces.items()}
        return json.dumps({"pieces": said, "columns": [asdict(column) for column in self.columns]})


def legend_of(data: Splits, arrays: Iterable[NDArray[Any]]) -> Legend:
    """What the numbers in these arrays of inputs and reconstructions stand for."""
    if data.modality.name != TOKENS:
        return Legend(columns=data.columns)
    used = {int(number) for array in arrays for number in np.unique(array)}
    known = pieces(data.words)
    return Legend({number: known[number] for number in sorted(used) if 0 <= number < len(known)})


def read_legend(text: str) -> Legend:
    """What `Legend.text` wrote; nothing where a file holds something else, for then the numbers are shown."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        value = json.loads(text)
        said = {
            int(number): Piece(str(piece), bool(glued), bool(says))
            for number, (piece, glued, says) in value["pieces"].items()
        }
        return Legend(said, tuple(map(_column, value["columns"])))
    return Legend()


def _column(value: Mapping[str, Any]) -> Column:
    low, high, tolerance = (float(value[name]) for name in ("low", "high", "tolerance"))
    words, first = tuple(map(str, value["words"])), int(value["first"])
    if first < 0 or not np.isfinite([low, high, tolerance]).all():
        raise ValueError("a column that cannot be")
    return Column(str(value["name"]), first, words, low, high, tolerance)
