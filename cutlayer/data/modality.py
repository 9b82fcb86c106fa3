"""Kinds of inputs: the range of each, and how an input is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.sequences import PAD
from cutlayer.spec import TensorSpec, image_spec, token_spec

LABELLED_FOLDERS = "put the images of each class into a folder of its own, or store labels as y beside x"


@dataclass(frozen=True)
class Column:
    """One column of a table, and the numbers that encode it in an input.

    Attributes:
        name: Name of the column.
        first: Place of its first number in an input.
        words: What the column may say, one number each, 1 for what it says and 0 for the others; empty for a number.
        low: What the number 0 stands for, in a column of numbers.
        high: What the number 1 stands for.
        tolerance: How far a guess of a number may lie from it to count as right, in the units of the column.
    """

    name: str
    first: int
    words: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    tolerance: float = 0.0

    @property
    def stop(self) -> int:
        """Place behind its last number."""
        return self.first + max(1, len(self.words))

    def said(self, row: NDArray[Any]) -> str:
        """What a row ``(n,)`` says in this column: a word, or a number with the digits that matter in its units."""
        if self.words:
            return self.words[int(np.argmax(row[self.first : self.stop]))]
        unit = self.tolerance or abs(self.high - self.low) / 100
        digits = max(0, min(6, ceil(-log10(unit)))) if unit > 0 else 0
        return f"{self.low + float(row[self.first]) * (self.high - self.low):z.{digits}f}"


@dataclass(frozen=True)
class Modality:
    """A kind of input.

    Attributes:
        name: One word for the kind; a metric states the kinds that it can score.
        spec: From the lengths of the axes of one input to its shape, type and range.
        contrast: ``(N, *input.shape)`` -> ``(N,)``: how much there is to see in each input.
        pixels: ``(N, *input.shape)`` -> the same inputs as ``(N, C, H, W)`` uint8, to be drawn.
        floor: The attacker's inputs ``(N, *input.shape)`` -> the best guess of whoever has seen no release.
        one: A word for one input, and its plural.
        labelled: How somebody's own inputs get the labels that a training needs, as a request.
        kept: The type in numpy in which reconstructions are kept.
        continuous: Whether an input can change by a little, so that a head has derivatives.
        columns: The columns of a table; none where the inputs are no rows, or nobody knows their columns.
        marks: Ids of the tokens that say nothing: those that the tokenizer itself puts at known places, such as a
            beginning and an end, and that of a word outside the vocabulary, which nobody can read from it. A model
            takes them as any other; no metric and no floor counts them.
    """

    name: str
    spec: Callable[..., TensorSpec]
    contrast: Callable[[NDArray[Any]], NDArray[np.float32]]
    pixels: Callable[[NDArray[np.float32]], NDArray[np.uint8]]
    floor: Callable[[NDArray[Any]], NDArray[Any]] = field(default=lambda inputs: inputs.mean(axis=0), kw_only=True)
    one: tuple[str, str] = field(default=("image", "images"), kw_only=True)
    labelled: str = field(default=LABELLED_FOLDERS, kw_only=True)
    kept: str = field(default="float16", kw_only=True)
    continuous: bool = field(default=True, kw_only=True)
    columns: tuple[Column, ...] = field(default=(), kw_only=True)
    marks: tuple[int, ...] = field(default=(), kw_only=True)

    def unmarked(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """The same inputs with `PAD` in place of marks, ``(N, *input.shape)``: what counts as read or not."""
        return np.where(np.isin(inputs, self.marks), PAD, inputs) if self.marks else inputs

    def most_telling(self, inputs: NDArray[np.float32], n: int) -> NDArray[np.intp]:
        """The positions of the n inputs with most contrast, which say most to the eye, in their order."""
        return np.sort(np.argsort(-self.contrast(inputs), kind="stable")[:n])


def _row_spec(n: int) -> TensorSpec:
    """The specification of a row of a table, whose columns are scaled to [0, 1]."""
    return TensorSpec((n,), "float32", 0.0, 1.0)


def _usual_row(rows: NDArray[Any], columns: tuple[Column, ...]) -> NDArray[Any]:
    """What is right most often in each column: a word, or a number by its tolerance; the mean row without columns."""
    usual: NDArray[Any] = rows.mean(axis=0)
    for column in columns:
        part = slice(column.first, column.stop)
        if column.words:
            counts = rows[:, part].sum(0)
            usual[part] = np.arange(len(counts)) == counts.argmax()
        else:
            reach = 2 * column.tolerance / ((column.high - column.low) or 1)
            usual[part] = _usual_number(np.sort(rows[:, column.first]), reach * (1 - 1e-5))
    return usual


def _usual_number(numbers: NDArray[Any], reach: float) -> float:
    """The middle of the stretch of this length that holds most of the numbers, which are in ascending order."""
    last = np.searchsorted(numbers, numbers + reach, side="right") - 1
    first = int((last - np.arange(len(numbers))).argmax())
    return float(numbers[first] + numbers[last[first]]) / 2


def table(columns: tuple[Column, ...]) -> Modality:
    """Rows of a table with these columns; a page writes them, and draws them where it must as a line of gray pixels."""
    return Modality(
        "table",
        spec=_row_spec,
        contrast=lambda rows: rows.std(axis=1),
        pixels=lambda rows: np.rint(rows[:, None, None] * 255).astype(np.uint8),
        floor=lambda rows: _usual_row(rows, columns),
        one=("row", "rows"),
        labelled="add a column of the classes, named label",
        columns=columns,
    )


TABLE = table(())
"""Rows of numbers whose columns nobody knows."""

IMAGE = Modality(
    "image",
    spec=image_spec,
    contrast=lambda images: images.std(axis=(1, 2, 3)),
    pixels=lambda images: np.rint(images * 255).astype(np.uint8),
)


def _most_frequent(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sentence that repeats the most frequent token."""
    counts = np.bincount(ids[ids != PAD])
    return np.full(ids.shape[1:], int(counts.argmax()) if len(counts) else PAD, np.int64)


def tokens(vocabulary: int, marks: tuple[int, ...] = ()) -> Modality:
    """Sequences of the ids of so many tokens, padded with `PAD`; they are written, not drawn.

    Args:
        vocabulary: Number of ids, `PAD` among them.
        marks: See `Modality.marks`.
    """
    return Modality(
        TOKENS,
        spec=lambda length: token_spec(length, vocabulary),
        contrast=lambda ids: np.array([len(np.unique(row[row != PAD])) for row in ids], np.float32),
        pixels=lambda ids: np.zeros((len(ids), 1, 1, 1), np.uint8),
        floor=lambda ids: _most_frequent(np.where(np.isin(ids, marks), PAD, ids)),
        one=("sentence", "sentences"),
        labelled="write a .csv with the columns text and label, or take a model that has its weights, hf/FOLDER, with "
        "no epochs",
        kept="int32",
        continuous=False,
        marks=marks,
    )


TOKENS = "tokens"
"""The name of the modality that `tokens` makes."""


def kind_of_inputs(spec: TensorSpec) -> str:
    """The name of the modality of inputs of this shape and type."""
    if spec.is_tokens:
        return TOKENS
    return TABLE.name if len(spec.shape) == 1 else IMAGE.name


def inputs_like(spec: TensorSpec) -> str:
    """Inputs of this shape and type in words: "images of 3x32x32", "rows of 13 numbers"."""
    if spec.is_tokens:
        return f"sentences of at most {spec} tokens"
    if len(spec.shape) == 1:
        return f"rows of {spec} numbers"
    return f"images of {spec}" if len(spec.shape) == 3 else f"inputs of {spec}"
