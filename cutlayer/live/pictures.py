"""Pictures as a page takes them: PNG in a data URL, written with the standard library alone."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 3: 2}


def bytes_of(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """An image in [0, 1] of any shape in steps of 1/255."""
    rounded: NDArray[np.uint8] = np.rint(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)
    return rounded


def data_url(image: NDArray[np.uint8]) -> str:
    """The PNG of an image, ``(C, H, W)`` with one channel or three, as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def png(image: NDArray[np.uint8]) -> bytes:
    """The PNG of an image, ``(C, H, W)`` with one channel or three."""
    channels, height, width = image.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with the number of its filter, none
    rows[:, 1:] = image.transpose(1, 2, 0).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b"")
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
