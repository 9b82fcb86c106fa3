"""Walking over the fields of a protobuf message, without a protobuf object."""

from __future__ import annotations

from collections.abc import Iterator

from cutlayer.errors import DecodeError
from cutlayer.wire.codecs.base import Buffer

_VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5

ID = 3 << 3 | BYTES
"""The tag of the field `id` of a request and of an answer."""

MAX_FIELDS = 1024
"""Of one message; each costs a turn of a loop, and a message of empty fields would keep a server busy for minutes."""


def fields(message: Buffer) -> Iterator[tuple[int, int, int, int]]:
    """The tag of each field, where the field begins, and where its value begins and ends. Raises DecodeError."""
    at = walked = 0
    while at < len(message):
        start, walked = at, walked + 1
        try:
            tag = message[at]
            if tag & 0x87 == BYTES and (length := message[at + 1]) < 0x80:
                # A byte each, as nearly all are.
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
    """Where the value of a field begins and ends."""
    if wire_type == BYTES:
        length, at = read_varint(message, at)
        return at, at + length
    if wire_type == _VARINT:
        return at, read_varint(message, at)[1]
    if wire_type in (_FIXED64, _FIXED32):
        return at, at + (8 if wire_type == _FIXED64 else 4)
    raise DecodeError("The bytes are no protobuf message.")


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(message: Buffer, at: int) -> tuple[int, int]:
    """A number of at most 64 bits, and where it ends. Raises IndexError where the message ends first."""
    byte = message[at]
    if byte < 0x80:
        return byte, at + 1
    value = byte & 0x7F
    for index in range(1, 10):
        byte = message[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise DecodeError("A number is longer than 64 bits.")
