"""Kinds of inputs: the range of each, and how an input is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.spec import TensorSpec, image_spec


@dataclass(frozen=True)
class Modality:
    """A kind of input.

    Attributes:
        name: One word for the kind; a metric states the kinds that it can score.
        spec: From the lengths of the axes of one input to its shape, type and range.
        contrast: ``(N, *input.shape)`` -> ``(N,)``: how much there is to see in each input.
        pixels: ``(N, *input.shape)`` -> the same inputs as ``(N, C, H, W)`` uint8, to be drawn.
    """

    name: str
    spec: Callable[..., TensorSpec]
    contrast: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    pixels: Callable[[NDArray[np.float32]], NDArray[np.uint8]]

    def most_telling(self, inputs: NDArray[np.float32], n: int) -> NDArray[np.intp]:
        """The positions of the n inputs with most contrast, which say most to the eye, in their order."""
        return np.sort(np.argsort(-self.contrast(inputs), kind="stable")[:n])


def _row_spec(n: int) -> TensorSpec:
    """The specification of a row of a table, whose columns are scaled to [0, 1]."""
    return TensorSpec((n,), "float32", 0.0, 1.0)


TABLE = Modality(
    "table",
    spec=_row_spec,
    contrast=lambda rows: rows.std(axis=1),
    pixels=lambda rows: np.rint(rows[:, None, None] * 255).astype(np.uint8),
)
"""Rows of a table, drawn as a line of gray pixels."""

IMAGE = Modality(
    "image",
    spec=image_spec,
    contrast=lambda images: images.std(axis=(1, 2, 3)),
    pixels=lambda images: np.rint(images * 255).astype(np.uint8),
)
