"""Reading and writing of the fields of a protobuf message without a protobuf object."""

from __future__ import annotations

from collections.abc import Iterator

from cutlayer.errors import DecodeError
from cutlayer.wire.codecs.base import Buffer

_VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5

ID = 3 << 3 | BYTES
"""Tag of the field `id` in requests and answers."""

MAX_TENSORS = 16

MAX_FIELDS = 1024
"""Most fields of one message; without a limit, a message of empty fields would keep a server busy for minutes."""


def fields(message: Buffer) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field: its tag, its start, and the start and end of its value. Raises DecodeError."""
    at = walked = 0
    while at < len(message):
        start, walked = at, walked + 1
        try:
            tag = message[at]
            if tag & 0x87 == BYTES and (length := message[at + 1]) < 0x80:
                # The common case: tag and length have one byte each.
                value = at + 2
                at = value + length
            else:
                tag, at = read_varint(message, at)
                value, at = value_of(message, at, tag & 7)
        except IndexError:
            at = len(message) + 1
        if at > len(message):
            raise DecodeError("The message ends in the middle of a field.")
        if walked > MAX_FIELDS:
            raise DecodeError(f"A message holds at most {MAX_FIELDS} fields.")
        yield tag, start, value, at


def value_of(message: Buffer, at: int, wire_type: int) -> tuple[int, int]:
    """Return the start and end of a field's value."""
    if wire_type == BYTES:
        length, at = read_varint(message, at)
        return at, at + length
    if wire_type == _VARINT:
        return at, read_varint(message, at)[1]
    if wire_type in (_FIXED64, _FIXED32):
        return at, at + (8 if wire_type == _FIXED64 else 4)
    raise DecodeError("The bytes are not a protobuf message.")


def varint(value: int) -> bytes:
    """Return a number as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(message: Buffer, at: int) -> tuple[int, int]:
    """Return a number of at most 64 bits and its end. Raises IndexError if the message ends before it."""
    byte = message[at]
    if byte < 0x80:
        return byte, at + 1
    value = byte & 0x7F
    for index in range(1, 10):
        byte = message[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise DecodeError("A number in the message is longer than 64 bits.")


def join(header: bytes, tensors: tuple[Buffer, ...], field: int) -> bytes:
    """Return the message that consists of `header` and a repeated bytes field with the values `tensors`."""
    tag = bytes([field << 3 | BYTES])
    parts: list[Buffer] = [header]
    for tensor in tensors:
        parts += (tag, varint(len(tensor)), tensor)
    return b"".join(parts)


def split(message: Buffer, field: int) -> tuple[bytes, tuple[memoryview, ...], str]:
    """Undo `join`: return the rest of the message, views of the field's values, and the id; empty if there is none.

    Raises:
        DecodeError: The bytes are not a protobuf message, or hold too many tensors.
    """
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
                # The common case: tag and length have one byte each.
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
