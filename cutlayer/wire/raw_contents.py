"""Tensors inside a protobuf message, without handing them to a protobuf object.

Protobuf allows the fields of a message to be written one after the other. So a header and its raw contents are joined
by writing tag, length and bytes after the header, and taken apart by walking over the tags: the same bytes that any
protobuf implementation writes and reads, without the two copies that each makes.
"""

from __future__ import annotations

from cutlayer.errors import DecodeError
from cutlayer.wire.codecs.base import Buffer
from cutlayer.wire.message import MAX_TENSORS
from cutlayer.wire.protobuf_fields import BYTES, ID, MAX_FIELDS, read_varint, value_of, varint


def join(header: bytes, tensors: tuple[Buffer, ...], field: int) -> bytes:
    """The message of which `header` is the rest and `tensors` are the values of the repeated bytes field."""
    tag = bytes([field << 3 | BYTES])
    parts: list[Buffer] = [header]
    for tensor in tensors:
        parts += (tag, varint(len(tensor)), tensor)
    return b"".join(parts)


def split(message: Buffer, field: int) -> tuple[bytes, tuple[memoryview, ...]]:
    """Undo `join`: the rest of the message, and views of the field's values.

    Raises:
        DecodeError: The bytes are no protobuf message, or hold more tensors than allowed.
    """
    header, tensors, _ = split_and_name(message, field)
    return header, tensors


def split_and_name(message: Buffer, field: int) -> tuple[bytes, tuple[memoryview, ...], str]:
    """As `split`; and the id of the request or of the answer, empty where there is none."""
    id = b""
    view, wanted, size = memoryview(message), field << 3 | BYTES, len(message)
    rest: list[memoryview] = []
    tensors: list[memoryview] = []
    start = at = walked = 0
    try:
        while at < size:
            field_start, walked = at, walked + 1
            if walked > MAX_FIELDS:
                raise DecodeError(f"A message holds at most {MAX_FIELDS} fields.")
            tag = message[at]
            if tag & 0x87 == BYTES and (length := message[at + 1]) < 0x80:
                # A byte each, as nearly all are.
                value = at + 2
                at = value + length
            else:
                tag, at = read_varint(message, at)
                value, at = value_of(message, at, tag & 7)
            if tag == wanted:
                rest.append(view[start:field_start])
                tensors.append(view[value:at])
                start = at
            elif tag == ID:
                id = bytes(view[value:at])
    except IndexError:
        at = size + 1
    if at > size:
        raise DecodeError("The message ends in the middle of a field.")
    if len(tensors) > MAX_TENSORS:
        raise DecodeError(f"A message holds at most {MAX_TENSORS} tensors, not {len(tensors)}.")
    rest.append(view[start:])
    return b"".join(rest), tuple(tensors), id.decode("utf-8", "replace")
