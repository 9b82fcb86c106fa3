"""Multi-part ZeroMQ messages, DEALER to ROUTER: one frame for prefix and header, one for each tensor.

The prefix is 12 bytes: the magic ``CL``, the protocol version, the kind, and a correlation number (64 bits,
little-endian) that the reply repeats, so that a reply which comes after its deadline is known and dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import zmq

from cutlayer.errors import DecodeError
from cutlayer.wire.codecs.base import Buffer
from cutlayer.wire.message import MAX_MESSAGE_BYTES, PROTOCOL, Kind, Message
from cutlayer.wire.protobuf import MAX_TENSORS
from cutlayer.wire.transport import Timeouts

MAGIC = b"CL"
PREFIX = struct.Struct("<2sBBQ")
_KINDS = {int(kind): kind for kind in Kind}

COPY_BELOW_BYTES = 256 << 10
"""Smaller frames are copied on sending; sharing their memory with the I/O thread costs more than that."""

HIGH_WATER_MARK = 32
"""Messages; twice what a client has under way, for a reader reports what it has read only now and then."""

LOOK_UP_MS = 100
"""How often a wait for a message is interrupted, to see whether there is still something to wait for."""


def pack(message: Message, correlation: int) -> list[Buffer]:
    """The frames of a message."""
    return [PREFIX.pack(MAGIC, PROTOCOL, message.kind, correlation) + message.header, *message.tensors]


def unpack(frames: list[Any]) -> tuple[Message, int]:
    """The message and its correlation number.

    Raises:
        DecodeError: The frames are no message of this protocol.
    """
    first = bytes(frames[0]) if frames else b""
    if len(first) < PREFIX.size:
        raise DecodeError("The first frame is shorter than the 12 bytes of the prefix.")
    magic, version, kind, correlation = PREFIX.unpack_from(first)
    if magic != MAGIC or version != PROTOCOL:
        raise DecodeError(f"The first frame does not begin with {MAGIC!r} and protocol version {PROTOCOL}.")
    if kind not in _KINDS or len(frames) > 1 + MAX_TENSORS:
        raise DecodeError(f"There is no message of kind {kind} with {len(frames) - 1} tensors.")
    return Message(_KINDS[kind], first[PREFIX.size :], tuple(frames[1:])), correlation


def correlation_of(frames: list[Buffer]) -> int:
    """The number that a refusal repeats, even of frames that are otherwise no message."""
    return int(PREFIX.unpack_from(frames[0])[3]) if frames and len(frames[0]) >= PREFIX.size else 0


def open_socket(kind: int, timeouts: Timeouts, options: Mapping[str, Any], context: Any = None) -> Any:
    """A socket with the limits and heartbeats of both ends, and the options of one; of the process, or of a context."""
    made: Any = (context or zmq.Context.instance()).socket(kind)
    made.linger = 0
    made.sndhwm = made.rcvhwm = HIGH_WATER_MARK
    made.maxmsgsize = MAX_MESSAGE_BYTES
    made.copy_threshold = COPY_BELOW_BYTES
    # A heartbeat waits behind the tensor that is on its way, so it is sent early and awaited long: a tensor may take
    # one and a half times as long as a silence, and a dead peer is found after two.
    made.heartbeat_ivl = int(timeouts.heartbeat_s * 500)
    made.heartbeat_timeout = int(timeouts.heartbeat_s * 1500)
    # The peer's view of this side: it may forget a connection that has been silent for both.
    made.heartbeat_ttl = 2 * int(timeouts.heartbeat_s * 1000)
    made.ipv6 = True
    for name, value in options.items():
        setattr(made, name, value)
    return made
