"""How far reconstructions are from inputs, for each kind of input: what a leakage gain and a search compare by."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cutlayer.metrics.identification import squared_distances
from cutlayer.metrics.image import mse
from cutlayer.metrics.tokens import differing, wrong_share

if TYPE_CHECKING:
    from torch import Tensor

ERRORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"image": mse, "table": mse, "tokens": wrong_share}
"""By the name of the modality: reconstructions and originals, ``(N, ...)`` each, to the error of each, ``(N,)``."""

DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "image": squared_distances,
    "table": squared_distances,
    "tokens": differing,
}
"""By the name of the modality: ``(N, ...)`` and ``(M, ...)`` to how far each is from each, ``(N, M)``."""
