"""The one way from an input to what leaves the device: ``encode(protect(head(x)))``.

The client sends what it returns, the attacker's query oracle returns what it wires, and nothing recomputes smashed
data on the side.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.split_folder import Half
from cutlayer.wire.codecs.base import Codec, Encoded
from cutlayer.wire.codecs.packed import decode
from defenses.base import Defense


class Released(NamedTuple):
    """What leaves the device for one batch, and how long each step to it took."""

    encoded: Encoded
    head_ns: int
    protect_ns: int
    encode_ns: int


class Pipeline:
    """Head, defense and codec of one device.

    Args:
        head: From images to smashed data.
        defense: What is done to the smashed data before it leaves.
        codec: How it becomes bytes.
    """

    def __init__(self, head: Half, defense: Defense, codec: Codec) -> None:
        self._head, self._defense, self._codec = head, defense, codec

    def release(self, images: NDArray[np.float32], rng: np.random.Generator) -> Released:
        """What leaves the device for these images, ``(N, C, H, W)`` in [0, 1].

        Args:
            images: One batch.
            rng: Source of the defense's draws.
        """
        start = time.monotonic_ns()
        smashed = self._head(images)
        computed = time.monotonic_ns()
        protected = self._defense.protect(smashed, rng)
        covered = time.monotonic_ns()
        encoded = self._codec.encode(protected)
        return Released(encoded, computed - start, covered - computed, time.monotonic_ns() - covered)

    def wire(self, images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[Any]:
        """What the server would have for these images: the released bytes, decoded; ``(N, *smashed.shape)``."""
        return decode(self.release(images, rng).encoded)
