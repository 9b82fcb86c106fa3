"""Templates: messages of a session that lack only their id, bytes and durations.

Protobuf reads concatenated messages as one message. So the parts that change within a session are appended to a
template, which is written once.
"""

from __future__ import annotations

import struct

from cutlayer.errors import DecodeError
from cutlayer.wire.codecs.base import Buffer
from cutlayer.wire.message import MAX_ID_BYTES, Message

_ID = b"\x1a"
"""Tag of the field `id`, 3, in requests and answers."""

_ID_OF_LENGTH = tuple(_ID + bytes((length,)) for length in range(MAX_ID_BYTES + 1))

DURATIONS = ("queue_ns", "decode_ns", "tail_ns", "reply_ns")
"""Durations on the server, which are parameters of a reply."""

MOST_NS = 1 << 53
"""Limit of a duration: a double holds each smaller integer exactly."""


def completed(template: Message, id: str, *tensors: Buffer) -> Message:
    """Return a request or a reply from its template, its id and the bytes of its tensors."""
    name = id.encode()
    if len(name) > MAX_ID_BYTES:
        raise DecodeError(f"An id has at most {MAX_ID_BYTES} bytes, not {len(name)}.")
    return Message(template.kind, template.header + _ID_OF_LENGTH[len(name)] + name, tensors)


def _timed_parameter(name: str) -> bytes:
    """Return a parameter of a reply as protobuf writes it, up to the eight bytes of its double."""
    entry = b"\x0a%c%b\x12\x09\x21" % (len(name), name.encode())
    return b"\x22%c%b" % (len(entry) + 8, entry)


_Q, _D, _T, _R = map(_timed_parameter, DURATIONS)
_TIMED = struct.Struct("<" + "".join(f"{len(written)}sd" for written in (_Q, _D, _T, _R)))


def timed(reply: Message, queue_ns: int, decode_ns: int, tail_ns: int, reply_ns: int) -> Message:
    """Return the reply with its durations, which are known only after the rest was written."""
    added = _TIMED.pack(_Q, queue_ns, _D, decode_ns, _T, tail_ns, _R, reply_ns)
    return Message(reply.kind, reply.header + added, reply.tensors)


def read_timed(header: bytes, expected: bytes) -> tuple[int, int, int, int] | None:
    """Return the `DURATIONS` that `timed` appended to `expected`; None for any other header."""
    if len(header) != len(expected) + _TIMED.size or not header.startswith(expected):
        return None
    q, queue_ns, d, decode_ns, t, tail_ns, r, reply_ns = _TIMED.unpack_from(header, len(expected))
    if not (q == _Q and d == _D and t == _T and r == _R):
        return None
    if not (
        0 <= queue_ns < MOST_NS and 0 <= decode_ns < MOST_NS and 0 <= tail_ns < MOST_NS and 0 <= reply_ns < MOST_NS
    ):
        return None
    return int(queue_ns), int(decode_ns), int(tail_ns), int(reply_ns)


def without_id(header: bytes) -> tuple[bytes, str] | None:
    """Undo `completed` for a header; return None if it does not end in an id."""
    size = at = len(header)
    earliest = max(0, size - 2 - MAX_ID_BYTES)
    while (at := header.rfind(_ID, earliest, at)) >= 0:
        if at + 1 < size and header[at + 1] == size - at - 2:
            try:
                return header[:at], header[at + 2 :].decode()
            except UnicodeDecodeError:
                continue
    return None
