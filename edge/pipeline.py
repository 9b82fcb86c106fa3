"""The one way from an input to what leaves the device: ``encode(protect(head(rewrite(x))))``.

The client sends the result of `Pipeline.release`, and the attacker's query oracle returns that of `Pipeline.wire`; no
other code computes smashed data.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.errors import DataError
from cutlayer.sequences import by_length, each_length, lengths, trimmed
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
    mend: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    """What the device does to the answer; None where the defense leaves it as it is."""


class Pipeline:
    """Head, defense and codec of one device.

    Args:
        head: Function from inputs to smashed data, or to all that a head of several outputs gives.
        defense: Protection of the smashed data before it leaves.
        codec: Codec of the smashed data on the wire.
        length: Greatest length of a sequence, where the head takes sequences of tokens; None otherwise. Padding is cut
            off before the head computes.
    """

    def __init__(self, head: Half, defense: Defense, codec: Codec, length: int | None = None) -> None:
        self._head, self._defense, self._codec, self._length = head, defense, codec, length

    def release(self, images: NDArray[Any], rng: np.random.Generator) -> Released:
        """Compute what leaves the device for these inputs, ``(N, *input.shape)``; the defense draws from `rng`.

        Raises:
            DataError: These are sentences of several lengths, and the codec would change what pads them.
        """
        start = time.monotonic_ns()
        if self._length is not None:
            images = self._unpadded(images)
        images = self._defense.rewrite(images, rng)
        begun = time.monotonic_ns()
        smashed = self._head(images)
        kept, mend = None, None
        if smashed.dtype.names is not None:
            kept, smashed = smashed, np.ascontiguousarray(smashed["smashed"])
        computed = time.monotonic_ns()
        protected = self._protected(images, smashed, rng)
        if self._defense.mends:
            mend = partial(self._defense.mend, smashed=smashed, sent=protected)
        guarded = time.monotonic_ns()
        encoded = self._codec.encode(protected)
        encoded_ns = time.monotonic_ns() - guarded
        return Released(encoded, computed - begun, guarded - computed + begun - start, encoded_ns, kept, mend)

    def _unpadded(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Cut padding off behind the longest sentence; what is left of it has to arrive as it is."""
        if len(ids) > 1 and not self._codec.keeps_rows and np.ptp(own := lengths(ids)):
            raise DataError(
                f"The codec {self._codec.name} takes sentences of one length in a request, since padding would change "
                f"the answers; these have {own.min()} to {own.max()} tokens: send them one by one, or take another "
                "codec, such as int8:channel."
            )
        return trimmed(ids)

    def _protected(self, inputs: NDArray[Any], smashed: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Protect what is no sequence as it is, and each sentence without padding, alike in any batch."""

        def protect(rows: NDArray[Any]) -> NDArray[Any]:
            protected: NDArray[Any] = self._defense.protect(rows, rng)
            return protected

        if self._length is None:
            return protect(smashed)
        protected: NDArray[Any] = each_length(protect, smashed, lengths(inputs))
        return protected

    def wire(self, images: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return what the server receives for these images: the released bytes, decoded, ``(N, *smashed.shape)``.

        Sequences are sent with others of their own length, and what arrives is zero behind their ends.
        """

        def sent(inputs: NDArray[Any]) -> NDArray[Any]:
            return self._codec.decode(self.release(inputs, rng).encoded)

        return sent(images) if self._length is None else by_length(sent, images, self._length)

    def answers(self, tail: Half, inputs: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """What a device makes of the answers to these inputs, each of which it sends by itself: ``(N, classes)``.

        Args:
            tail: The server's half.
            inputs: ``(N, *input.shape)``.
            rng: Source of the defense's draws.
        """
        made = list[NDArray[Any]]()
        for i in range(len(inputs)):
            released = self.release(inputs[i : i + 1], rng)
            answer = tail(self._codec.decode(released.encoded))
            made.append(released.mend(answer) if released.mend else answer)
        return np.concatenate(made)
