"""Compression by an autoencoder: the server gets short codes of pieces of the update, and decodes them.

Autoencoders of parameters as compression and as a defense: T. Chandar, R. Chandrasekaran, B. Ramaswamy, et al.,
"Communication Optimization in Large Scale Federated Learning using Autoencoder Compressed Weight Updates", 2021; Chen
et al. report updates 4.1 times as small. Each parameter is divided by its root mean square and cut into pieces of
`chunk` numbers; a piece is encoded in ``chunk / ratio`` numbers and decoded at the server, which gets the decoder with
the first code.

How it is trained: on the pieces of the client's first update. A linear autoencoder has its optimum at the principal
components of what it is trained on (P. Baldi, K. Hornik, Neural Networks 2, 1989), so that it is computed, and not
found by steps. It stays the same for all later updates.

Differs from the papers: their networks have several layers and activations; this one is linear.

Threat model: the aggregator of the updates; it decodes as the server does, and what it sees is the decoded update. All
decoded pieces lie in the space of the decoder, which can be read from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.updates.base import Local, Twin, Update, UpdateDefense
from cutlayer.defenses.updates.residuals import kept
from cutlayer.options import Size, Within

if TYPE_CHECKING:
    from torch import Tensor

_KEY, _TINY = "decoder", 1e-12


@dataclass(kw_only=True)
class Autoencoder(UpdateDefense):
    """Send what an autoencoder leaves of the update.

    Args:
        ratio: Numbers of a piece over those of its code; the update gets so many times as small. 0 for all as it is.
        chunk: Numbers of a piece.
    """

    knob = "ratio"
    plain_words = "squeezes the update through a narrow autoencoder"

    ratio: Annotated[float, Within(0, 65_536)] = 4.0
    chunk: Size = 64

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        if _KEY not in state:
            rows = np.concatenate([kept(self._pieces(value)) for value in update.values()])
            state[_KEY] = components(rows, self._code)
        return {name: self._passed(value, state[_KEY]) for name, value in update.items()}

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base; the decoder is read from the decoded pieces, those that are not cut off at a layer's end."""
        if not self.on:
            return None
        pieces = [kept(self._pieces(value)[: math.prod(value.shape) // self.chunk]) for value in sent.values()]
        decoder = components(np.concatenate(pieces), self._code)
        return lambda update: {name: self._passed(value, decoder) for name, value in update.items()}

    @property
    def _code(self) -> int:
        return max(1, int(self.chunk / self.ratio))

    def _pieces(self, value: Any) -> Any:
        """``(pieces, chunk)``: one parameter over its root mean square, the last piece filled with zeros."""
        xp = array_namespace(value)
        flat = xp.reshape(value / self._scale(value), (-1,))
        missing = -len(flat) % self.chunk
        return xp.reshape(xp.concat([flat, xp.zeros_like(flat[:1]).repeat(missing)]), (-1, self.chunk))

    def _scale(self, value: Any) -> Any:
        xp = array_namespace(value)
        return (xp.mean(value * value) + _TINY**2) ** 0.5

    def _passed(self, value: Any, decoder: NDArray[np.float32]) -> Any:
        xp = array_namespace(value)
        axes = xp.asarray(decoder, device=value.device)
        decoded = self._pieces(value) @ axes.T @ axes
        return xp.reshape(decoded, (-1,))[: math.prod(value.shape)].reshape(value.shape) * self._scale(value)


def components(rows: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """The n principal axes of ``(N, D)`` rows, without centering, as orthonormal ``(n, D)``; fewer if there are few."""
    _, sizes, axes = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    there = int((sizes > sizes[0] * 1e-6).sum()) if sizes.any() else 0
    return axes[: min(n, there)].astype(np.float32)
