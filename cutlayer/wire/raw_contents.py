"""Tensors inside a protobuf message, without handing them to a protobuf object.

Protobuf allows the fields of a message to be written one after the other. So a header and its raw contents are joined
by writing tag, length and bytes after the header, and taken apart by walking over the tags: the same bytes that any
protobuf implementation writes and reads, without the two copies that each makes.
"""

from cutlayer.errors import DecodeError
from cutlayer.wire.codecs.base import Buffer
from cutlayer.wire.message import MAX_TENSORS

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def join(header: bytes, tensors: tuple[Buffer, ...], field: int) -> bytes:
    """The message of which `header` is the rest and `tensors` are the values of the repeated bytes field."""
    tag = bytes([field << 3 | _BYTES])
    parts: list[Buffer] = [header]
    for tensor in tensors:
        parts += (tag, _varint(len(tensor)), tensor)
    return b"".join(parts)


def split(message: bytes, field: int) -> tuple[bytes, tuple[memoryview, ...]]:
    """Undo `join`: the rest of the message, and views of the field's values.

    Raises:
        DecodeError: The bytes are no protobuf message, or hold more tensors than allowed.
    """
    view, wanted, size = memoryview(message), field << 3 | _BYTES, len(message)
    rest: list[memoryview] = []
    tensors: list[memoryview] = []
    start = at = 0
    try:
        while at < size:
            field_start = at
            tag, at = _read_varint(message, at)
            value, at = _value(message, at, tag & 7)
            if tag == wanted:
                rest.append(view[start:field_start])
                tensors.append(view[value:at])
                start = at
    except IndexError:
        at = size + 1
    if at > size:
        raise DecodeError("The message ends in the middle of a field.")
    if len(tensors) > MAX_TENSORS:
        raise DecodeError(f"A message holds at most {MAX_TENSORS} tensors, not {len(tensors)}.")
    rest.append(view[start:])
    return b"".join(rest), tuple(tensors)


def _value(message: bytes, at: int, wire_type: int) -> tuple[int, int]:
    """Where the value of a field begins and ends."""
    if wire_type == _BYTES:
        length, at = _read_varint(message, at)
        return at, at + length
    if wire_type == _VARINT:
        return at, _read_varint(message, at)[1]
    if wire_type in (_FIXED64, _FIXED32):
        return at, at + (8 if wire_type == _FIXED64 else 4)
    raise DecodeError("The bytes are no protobuf message.")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
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
