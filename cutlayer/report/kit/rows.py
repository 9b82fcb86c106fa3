"""Rows of a table for the page, column by column: what the device held, and what was worked out beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.modality import Column
from cutlayer.report.kit.markup import Html, el, note, small, table
from cutlayer.report.kit.sentences import marked
from cutlayer.report.kit.wording import DASH, MINUS

MOST_COLUMNS = 24
"""Columns of a table that are shown."""


def rows(
    values: NDArray[Any], indices: Sequence[int], columns: Sequence[Column], label: str,
    truth: NDArray[Any] | None = None,
) -> Html:  # fmt: skip
    """Some of the rows side by side, one line for each column; with the truth wrong values are marked.

    Args:
        values: ``(N, D)`` encoded rows.
        indices: Numbers of the rows to show.
        columns: The columns; where none are known, each number is one.
        label: What they are: the caption.
        truth: What the device held, ``(N, D)``; None where these rows are it, or it is unknown.
    """
    known = columns or numbered(values.shape[1])
    judged = truth is not None and any(rightly(column, values, truth) is not None for column in known)
    head: list[object] = ["Column"]
    for place, index in enumerate(indices):
        told = right_of(known, values[index], truth[index]) if judged and truth is not None else None
        head.append(el("th", f"Row {place + 1}", small(told), scope="col"))
    lines = []
    for column in known[:MOST_COLUMNS]:
        cells = [_cell(column, values[i], None if truth is None else truth[i]) for i in indices]
        lines.append(el("tr", el("th", column.name, scope="row"), cells))
    return el("div", table(label, head, [el("tbody", lines)], "rows"), _more(known))


def side_by_side(
    truth: NDArray[Any], rebuilt: Mapping[str, NDArray[Any]], index: int, columns: Sequence[Column], label: str
) -> Html:
    """One row: what the device held, and beside it what each attack made of it; wrong values are marked."""
    known = columns or numbered(truth.shape[1])
    head = [el("th", "what was held", scope="col")]
    head += [
        el("th", name, small(right_of(known, made[index], truth[index])), scope="col") for name, made in rebuilt.items()
    ]
    lines = [
        el(
            "tr",
            el("th", column.name, scope="row"),
            el("td", said(column, truth[index])),
            [_cell(column, values[index], truth[index], told=False) for values in rebuilt.values()],
        )
        for column in known[:MOST_COLUMNS]
    ]
    return el("div", table(label, ["Column", *head], [el("tbody", lines)], "rows"), _more(known))


def numbered(n: int) -> tuple[Column, ...]:
    """Columns by their numbers, where nothing is known of them; what is right cannot be told."""
    return tuple(Column(f"number {i + 1}", i) for i in range(n))


def said(column: Column, row: NDArray[Any]) -> str:
    """What a column of an encoded row says; a dash where that is no number."""
    own = row[column.first : column.stop].astype(np.float64)
    if not len(own) or not np.isfinite(own).all():
        return DASH
    return column.said(row) if column.words else column.said(row).replace("-", MINUS)


def rightly(column: Column, values: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where a column is right, ``(N, D)`` each, to ``(N,)``: the same word, or a number within the tolerance."""
    own, true = (array[:, column.first : column.stop].astype(np.float64) for array in (values, truth))
    if column.words:
        same: NDArray[np.bool_] = own.argmax(1) == true.argmax(1)
        return same
    if not column.tolerance or not own.shape[1]:
        return None
    return np.abs(own[:, 0] - true[:, 0]) * abs(column.high - column.low) <= column.tolerance


def right_of(columns: Sequence[Column], row: NDArray[Any], truth: NDArray[Any]) -> str:
    """How many columns of one row are right, of those of which that can be told."""
    found = [right[0] for column in columns if (right := rightly(column, row[None], truth[None])) is not None]
    return f"{sum(found):,} of {len(found):,} right"


def _cell(column: Column, row: NDArray[Any], truth: NDArray[Any] | None, *, told: bool = True) -> Html:
    text = said(column, row)
    right = None if truth is None else rightly(column, row[None], truth[None])
    if truth is None or right is None or right[0]:
        return el("td", text)
    return el("td", marked(text), small(f"was {said(column, truth)}") if told else None)


def _more(columns: Sequence[Column]) -> Html | None:
    more = len(columns) - MOST_COLUMNS
    return note(f"{more:,} further columns are in the records.") if more > 0 else None
