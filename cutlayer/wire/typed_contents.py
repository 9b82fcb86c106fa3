"""Tensors in `InferTensorContents`, the typed alternative to `raw_contents`, converted to raw bytes.

Packed floating-point numbers already have the bytes of `raw_contents`, so they are cut out of the header unparsed.
Integers are refused: they would need unpacking; send them raw.
"""

from __future__ import annotations

from cutlayer.errors import DecodeError
from cutlayer.wire.codecs.base import Buffer
from cutlayer.wire.protobuf import fields, varint

_TENSORS = 5 << 3 | 2
"""`inputs` of a request and `outputs` of a response have the same field number."""

_DATATYPE, _CONTENTS = 2 << 3 | 2, 5 << 3 | 2

# Tags of the fields of InferTensorContents: packed, and one number at a time.
_ELEMENTS = {b"FP32": (6 << 3 | 2, 6 << 3 | 5), b"FP64": (7 << 3 | 2, 7 << 3 | 1)}


def take_out(header: bytes) -> tuple[bytes, tuple[Buffer, ...]]:
    """Return the header without typed contents, and the contents of each tensor; no contents if no tensor has any.

    Raises:
        DecodeError: The bytes are not a protobuf message, hold integers, or lack the contents of some tensors.
    """
    view = memoryview(header)
    parts: list[Buffer] = []
    taken: list[Buffer | None] = []
    start = 0
    for tag, at, value, end in fields(view):
        if tag == _TENSORS:
            rest, elements = _take_out_of(view[value:end])
            taken.append(elements)
            parts += (view[start:at], bytes([_TENSORS]), varint(len(rest)), rest)
            start = end
    contents = tuple(contents for contents in taken if contents is not None)
    if not contents:
        return header, ()
    if len(contents) < len(taken):
        raise DecodeError("Some tensors have contents and some have none; send the contents of all.")
    return b"".join((*parts, view[start:])), contents


def _take_out_of(tensor: memoryview) -> tuple[bytes, Buffer | None]:
    """Return the description of a tensor without its contents, and its contents."""
    parts: list[Buffer] = []
    contents: list[memoryview] = []
    datatype, start = b"", 0
    for tag, at, value, end in fields(tensor):
        if tag == _DATATYPE:
            datatype = bytes(tensor[value : min(end, value + 8)])
        elif tag == _CONTENTS:
            parts.append(tensor[start:at])
            contents.append(tensor[value:end])
            start = end
    if not contents:
        return bytes(tensor), None
    elements = [piece for part in contents for piece in _elements(part, datatype)]
    return b"".join((*parts, tensor[start:])), elements[0] if len(elements) == 1 else b"".join(elements)


def _elements(contents: memoryview, datatype: bytes) -> list[memoryview]:
    wanted = _ELEMENTS.get(datatype, ())
    pieces = [(tag, contents[value:end]) for tag, _, value, end in fields(contents)]
    if any(tag not in wanted for tag, _ in pieces):
        raise DecodeError("Typed contents must be FP32 in fp32_contents or FP64 in fp64_contents; send others raw.")
    return [piece for _, piece in pieces]
