"""How far reconstructions are from inputs, for each kind of input: what a leakage gain and a search compare by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from cutlayer.metrics.columns import wrong_share as wrong_columns
from cutlayer.metrics.identification import squared_distances
from cutlayer.metrics.image import mse
from cutlayer.metrics.tokens import differing, wrong_share

if TYPE_CHECKING:
    from torch import Tensor

    from cutlayer.data.modality import Modality


def error_of(modality: Modality) -> Callable[[Tensor, Tensor], Tensor]:
    """From reconstructions and originals of this kind, ``(N, ...)`` each, to the error of each, ``(N,)``.

    Of sentences it is the share of wrong tokens, of rows of a table that of wrong columns, else the mean squared error.
    """
    if modality.columns:
        return partial(wrong_columns, columns=modality.columns)
    return wrong_share if modality.name == "tokens" else mse


def distances(reconstructions: Tensor, candidates: Tensor) -> Tensor:
    """How far each reconstruction is from each candidate, ``(N, ...)`` and ``(M, ...)`` to ``(N, M)``.

    The squared L2 distance of images and rows; of sentences, whose tokens are whole numbers, how many tokens differ.
    """
    far = squared_distances if candidates.is_floating_point() else differing
    return far(reconstructions, candidates)
