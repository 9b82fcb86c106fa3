"""Inputs and reconstructions for the page, each kind in its own way: pictures, sentences, rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.legend import Legend
from cutlayer.data.modality import IMAGE, TABLE, TOKENS
from cutlayer.report.kit.markup import Html
from cutlayer.report.kit.pictures import strip
from cutlayer.report.kit.rows import rightly, rows
from cutlayer.report.kit.sentences import sentences, shares


@dataclass(frozen=True)
class Inputs:
    """Inputs of one kind, to be shown.

    Attributes:
        modality: Name of the kind.
        values: ``(N, *input.shape)``; pictures as uint8 pixels or in [0, 1].
        truth: What was sent, of the same shape, where these are reconstructions; None where they are it.
        legend: What the numbers stand for.
    """

    modality: str
    values: NDArray[Any]
    truth: NDArray[Any] | None = None
    legend: Legend = field(default_factory=Legend)

    @property
    def drawable(self) -> bool:
        """Whether there is something that can be shown."""
        return self.modality in DRAW and self.values.ndim == AXES[self.modality] and len(self.values) > 0

    def drawn(self, indices: Sequence[int], label: str, most_side: int | None = None) -> Html:
        """Some of the inputs; a label for those who do not see them; no more pixels of a side than so many."""
        return DRAW[self.modality](self, indices, label, most_side)


def _pictures(inputs: Inputs, indices: Sequence[int], label: str, most_side: int | None) -> Html:
    return strip(pixels(inputs.values[list(indices)]), range(len(indices)), label, most_side)


def _sentences(inputs: Inputs, indices: Sequence[int], label: str, most_side: int | None) -> Html:
    del most_side
    return sentences(inputs.values, indices, inputs.legend.pieces, label, inputs.truth)


def _rows(inputs: Inputs, indices: Sequence[int], label: str, most_side: int | None) -> Html:
    del most_side
    return rows(inputs.values, indices, inputs.legend.columns, label, inputs.truth)


DRAW: Mapping[str, Callable[[Inputs, Sequence[int], str, int | None], Html]] = {
    IMAGE.name: _pictures, TOKENS: _sentences, TABLE.name: _rows,
}  # fmt: skip
AXES = {IMAGE.name: 4, TOKENS: 2, TABLE.name: 2}
SHOWN = {IMAGE.name: 6, TOKENS: 4, TABLE.name: 3}
"""Inputs that open a page, by the kind."""


def pixels(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Pictures as they are drawn; the first version of cutlayer recorded them so."""
    return images if images.dtype == np.uint8 else IMAGE.pixels(images.astype(np.float32))


def gains(rebuilt: Inputs, true: NDArray[Any]) -> NDArray[np.float64]:
    """How much an attack got of each input, ``(N,)``, to order them by; -inf where nothing can be said.

    It is the share of tokens or of columns that are right; of pictures, and of rows whose columns nobody knows, the
    share of the mean input's error that a reconstruction removed.
    """
    if rebuilt.modality == TOKENS:
        return shares(rebuilt.values, true, rebuilt.legend.pieces)
    if rebuilt.legend.columns:
        right = [rightly(column, rebuilt.values, true) for column in rebuilt.legend.columns]
        found: NDArray[np.float64] = np.mean([columns for columns in right if columns is not None], axis=0)
        return found
    flat = true.reshape(len(true), -1).astype(np.float64)
    error = ((flat - rebuilt.values.reshape(len(true), -1)) ** 2).mean(1)
    of_mean = ((flat - flat.mean(0)) ** 2).mean(1)
    return np.where(of_mean > 0, 1 - error / np.maximum(of_mean, 1e-12), -np.inf)
