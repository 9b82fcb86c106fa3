"""What a device sends of itself where its user shares the originals: the bytes of a picture, or the ids of tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.live.device import Denied
from cutlayer.models.manifest import Manifest
from cutlayer.sequences import padded

ID = np.dtype("<i4")


def most_bytes(manifest: Manifest) -> int:
    """Bytes of the longest original that the head of a split takes."""
    return manifest.input.size * (ID.itemsize if manifest.sequence else 1)


def read(manifest: Manifest, sent: bytes) -> NDArray[Any]:
    """An original as it was sent: a picture ``(C, H, W)`` uint8, or the ids of a sentence ``(T,)`` int64, padded.

    Raises:
        Denied: The bytes are neither.
    """
    spec = manifest.input
    if not manifest.sequence:
        if len(sent) != spec.size:
            raise Denied(400, f"An original has {spec.size} bytes, {len(sent)} were sent.")
        return np.frombuffer(sent, np.uint8).reshape(spec.shape)
    most = int(spec.high or 0)
    if not sent or len(sent) % ID.itemsize or len(sent) > most_bytes(manifest):
        raise Denied(
            400,
            f"An original has {ID.itemsize} bytes for each of 1 to {spec.shape[0]} tokens, {len(sent)} were sent.",
        )
    ids = np.frombuffer(sent, ID).astype(np.int64)
    if ids.min() < 0 or ids.max() > most:
        raise Denied(400, f"The ids of tokens are whole numbers from 0 to {most:,}.")
    whole: NDArray[np.int64] = padded(ids[None], spec.shape[0])[0]
    return whole
