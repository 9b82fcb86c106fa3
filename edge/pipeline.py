"""The one way from an input to what leaves the device: ``encode(protect(head(x)))``.

The client sends the result of `Pipeline.release`, and the attacker's query oracle returns that of `Pipeline.wire`; no
other code computes smashed data.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.split_folder import Half
from cutlayer.wire.codecs.base import Codec, Encoded


class Released(NamedTuple):
    """What leaves the device for one batch, and the duration of each step."""

    encoded: Encoded
    head_ns: int
    protect_ns: int
    encode_ns: int
    kept: NDArray[Any] | None = None
    """What the head gave, where that is more than smashed data; the rest of it stays on the device."""


class Pipeline:
    """Head, defense and codec of one device.

    Args:
        head: Function from images to smashed data, or to all that a head of several outputs gives.
        defense: Protection of the smashed data before it leaves.
        codec: Codec of the smashed data on the wire.
    """

    def __init__(self, head: Half, defense: Defense, codec: Codec) -> None:
        self._head, self._defense, self._codec = head, defense, codec

    def release(self, images: NDArray[np.float32], rng: np.random.Generator) -> Released:
        """Compute what leaves the device for these inputs, ``(N, *input.shape)``; the defense draws from `rng`."""
        start = time.monotonic_ns()
        smashed = self._head(images)
        kept = None
        if smashed.dtype.names is not None:
            kept, smashed = smashed, np.ascontiguousarray(smashed["smashed"])
        computed = time.monotonic_ns()
        protected = self._defense.protect(smashed, rng)
        guarded = time.monotonic_ns()
        encoded = self._codec.encode(protected)
        return Released(encoded, computed - start, guarded - computed, time.monotonic_ns() - guarded, kept)

    def wire(self, images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[Any]:
        """Return what the server receives for these images: the released bytes, decoded, ``(N, *smashed.shape)``."""
        return self._codec.decode(self.release(images, rng).encoded)
