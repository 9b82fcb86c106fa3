"""Frequencies left out: the first coefficients of each layer's cosine transform are not sent.

"pFGD" (github.com @d531bf4): each layer of the gradient is flattened, transformed by the orthonormal DCT-IV, the first
``int(rate * n)`` of its n coefficients are set to zero, and it is transformed back. The DCT-IV is its own inverse:
``X_k = sqrt(2/n) sum_j x_j cos(pi/n (j + 1/2)(k + 1/2))``. Coefficients are left out by their position and not by their
size, so that the map is a projection that is fixed and public; small layers, such as biases, stay whole.

Differs from the authors' code: the pruning of weights that comes with it is left out.

Threat model: the aggregator of the updates; it applies the same projection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.updates.base import Local, Twin, Update, UpdateDefense
from cutlayer.options import Share

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class PFGD(UpdateDefense):
    """Leave out the first coefficients of the cosine transform of each layer.

    Args:
        rate: Share of the coefficients of each parameter, rounded down; the authors have 0.01 and 0.001.
    """

    knob = "rate"
    plain_words = "leaves out the slow waves of each layer's numbers"

    rate: Share = 0.01

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        return self._projected(update)

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base."""
        return self._projected if self.on else None

    def _projected(self, update: Update) -> dict[str, Any]:
        return {name: self._without(value) for name, value in update.items()}

    def _without(self, value: Any) -> Any:
        xp = array_namespace(value)
        n = math.prod(value.shape)
        left_out = int(self.rate * n)
        if not left_out:
            return value
        waves = dct4(xp.reshape(value, (-1,)))
        mask = xp.asarray(np.arange(n) >= left_out, device=value.device)
        return xp.reshape(xp.astype(dct4(waves * mask), value.dtype), value.shape)


def dct4(values: Any) -> Any:
    """The orthonormal DCT-IV of ``(n,)`` numbers, as float64; it can be differentiated."""
    xp = array_namespace(values)
    n = len(values)
    # exp(-i pi/n (j + 1/2)(k + 1/2)) is a Fourier kernel of length 2n times a factor of j and one of k.
    before = xp.asarray(np.exp(-0.5j * np.pi / n * np.arange(n)), device=values.device)
    after = xp.asarray(np.exp(-1j * np.pi / n * (np.arange(n) / 2 + 0.25)), device=values.device)
    spectrum = xp.fft.fft(xp.astype(values, xp.float64) * before, n=2 * n)[:n]
    return xp.real(spectrum * after) * math.sqrt(2 / n)
