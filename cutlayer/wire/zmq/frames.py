"""Multi-part ZeroMQ messages, DEALER to ROUTER: one frame for prefix and header, one for each tensor.

The prefix has 12 bytes: the magic ``CL``, the protocol version, the kind, and a correlation number (64 bits,
little-endian). The reply repeats the number, so that a reply after its deadline is recognized and dropped.
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
"""Smaller frames are copied on sending, because sharing their memory with the I/O thread takes longer."""

HIGH_WATER_MARK = 32
"""Messages in a queue: twice a client's requests in flight, since a reader reports only now and then what it read."""

MOST_FRAMES = 64
"""Frames of a message that are kept, so that one with too many tensors is refused with a sentence; no client of ours
sends as many. ZeroMQ takes any number of frames, and hands them over one by one."""

LOOK_UP_MS = 100
"""Longest wait for a message before the connection is checked again."""


def pack(message: Message, correlation: int) -> list[Buffer]:
    """Return the frames of a message."""
    return [PREFIX.pack(MAGIC, PROTOCOL, message.kind, correlation) + message.header, *message.tensors]


def unpack(frames: list[Any]) -> tuple[Message, int]:
    """Return the message and its correlation number.

    Raises:
        DecodeError: The frames are not a message of this protocol.
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
    """Return the correlation number for a refusal, even if the frames are otherwise not a message."""
    return int(PREFIX.unpack_from(frames[0])[3]) if frames and len(frames[0]) >= PREFIX.size else 0


def open_socket(kind: int, timeouts: Timeouts, options: Mapping[str, Any], context: Any = None) -> Any:
    """Open a socket with the limits and heartbeats of both ends and the given options, in a context if there is one."""
    socket: Any = (context or zmq.Context.instance()).socket(kind)
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = HIGH_WATER_MARK
    socket.maxmsgsize = MAX_MESSAGE_BYTES
    socket.copy_threshold = COPY_BELOW_BYTES
    # A heartbeat waits behind the tensor that is being sent, so it is sent early and its answer awaited long: a tensor
    # may take 1.5 times heartbeat_s, and a dead peer is detected after twice heartbeat_s.
    socket.heartbeat_ivl = int(timeouts.heartbeat_s * 500)
    socket.heartbeat_timeout = int(timeouts.heartbeat_s * 1500)
    # The peer drops the connection after both together without a message from this side.
    socket.heartbeat_ttl = 2 * int(timeouts.heartbeat_s * 1000)
    socket.ipv6 = True
    for name, value in options.items():
        setattr(socket, name, value)
    return socket
