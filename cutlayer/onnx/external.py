"""The files beside an ONNX file in which it keeps weights, found without the package onnx, which a device has not.

ONNX Runtime reads them when it opens the file, so a split folder has to know them all.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from cutlayer.bounded import opened
from cutlayer.errors import DecodeError
from cutlayer.wire.protobuf import BYTES, read_varint, value_of

_KEY = b"location"
"""The key under which a tensor names its file; a model without these letters has no such file."""

# The messages of ONNX that can hold a tensor: the fields of each that lead there, by number.
_TRAINING, _GRAPH, _NODE, _ATTRIBUTE, _SPARSE, _FUNCTION, _TENSOR, _ENTRY = range(1, 9)
_FIELDS = {
    0: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TENSOR: {13: _ENTRY},
}


def external_files(path: Path) -> set[str]:
    """The locations that the tensors of an ONNX file name, as they are written there.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no ONNX file.
    """
    with opened(path) as file:
        if not path.stat().st_size:
            raise ValueError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(_KEY) < 0:
                return set()
            try:
                with memoryview(content) as view:
                    return _locations(view)
            except (DecodeError, IndexError, UnicodeDecodeError):
                raise ValueError("it is no ONNX file") from None


def _locations(view: memoryview) -> set[str]:
    found: set[str] = set()
    left = [(0, 0, len(view))]
    while left:
        kind, at, end = left.pop()
        entry: dict[int, bytes] = {}
        while at < end:
            tag, at = read_varint(view, at)
            value, at = value_of(view, at, tag & 7)
            if at > end:
                raise DecodeError("The file ends in the middle of a field.")
            if tag & 7 != BYTES:
                continue
            if kind == _ENTRY:
                entry[tag >> 3] = bytes(view[value:at])
            elif inner := _FIELDS[kind].get(tag >> 3):
                left.append((inner, value, at))
        if entry.get(1) == _KEY:
            found.add(entry.get(2, b"").decode())
    return found
