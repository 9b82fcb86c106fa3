"""Multi-part ZeroMQ messages, DEALER to ROUTER: one frame for prefix and header, one for each tensor.

The prefix is 12 bytes: the magic ``CL``, the protocol version, the kind, and a correlation number (64 bits,
little-endian) that the reply repeats, so that a reply which comes after its deadline is known and dropped.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from cutlayer.errors import ConfigError, DeadlineExceeded, DecodeError, Unreachable, WireError
from cutlayer.wire.codecs.base import Buffer
from cutlayer.wire.message import MAX_MESSAGE_BYTES, MAX_TENSORS, PROTOCOL, Kind, Message, error_reply, read_error_reply
from cutlayer.wire.transport import Address, Handler, Timeouts, log, refusal

MAGIC = b"CL"
PREFIX = struct.Struct("<2sBBQ")

COPY_BELOW_BYTES = 256 << 10
"""Smaller frames are copied on sending; sharing their memory with the I/O thread costs more than that."""

HIGH_WATER_MARK = 16
LAST_REPLIES_MS = 1000


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
    if kind not in Kind.__members__.values() or len(frames) > 1 + MAX_TENSORS:
        raise DecodeError(f"There is no message of kind {kind} with {len(frames) - 1} tensors.")
    return Message(Kind(kind), first[PREFIX.size :], tuple(frames[1:])), correlation


def _correlation(frames: list[Buffer]) -> int:
    """The number that a refusal repeats, even of frames that are otherwise no message."""
    return int(PREFIX.unpack_from(frames[0])[3]) if frames and len(frames[0]) >= PREFIX.size else 0


class Zmq:
    """The client's end; see `Transport`.

    A DEALER with no peer takes message after message and says nothing, so it is asked first whether it has one. Not by
    ZMQ_IMMEDIATE: that drops a reply which is still unread when the server closes the connection behind it.
    """

    def __init__(self, address: Address, timeouts: Timeouts) -> None:
        self._address, self._timeouts = address, timeouts
        self._correlation = 0
        self._open()

    @staticmethod
    def listen(address: Address, handler: Handler, timeouts: Timeouts) -> ZmqServer:
        """A server at this address."""
        return ZmqServer(address, handler, timeouts)

    def request(self, message: Message, timeout_s: float) -> Message:
        """See `Transport.request`."""
        self._correlation += 1
        self._read_news()
        if not self._connected:
            self._await_connection()
        try:
            self._socket.send_multipart(pack(message, self._correlation), copy=False)
        except zmq.Again:
            raise Unreachable(f"{self._address} takes no further requests.") from None
        reply = self._receive(timeout_s)
        if reply.kind is Kind.ERROR:
            raise read_error_reply(reply)
        if reply.kind is not message.kind:
            raise DecodeError(f"{self._address} answered {message.kind.name} with {reply.kind.name}.")
        return reply

    def close(self) -> None:
        """See `Transport.close`."""
        self._socket.disable_monitor()
        self._news.close(linger=0)
        self._socket.close(linger=0)

    def _open(self) -> None:
        self._socket = _socket(zmq.DEALER, self._timeouts)
        self._socket.reconnect_ivl, self._socket.reconnect_ivl_max = 100, 1000
        self._socket.connect_timeout = int(self._timeouts.connect_s * 1000)
        # Requests that nobody answered may have filled the queue to a server that hangs.
        self._socket.sndtimeo = int(self._timeouts.connect_s * 1000)
        self._news = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._connected = False
        self._socket.connect(f"tcp://{self._address.netloc}")
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._news, zmq.POLLIN)

    def _read_news(self) -> None:
        while self._news.poll(0):
            self._connected = recv_monitor_message(self._news)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED

    def _await_connection(self) -> None:
        deadline = time.monotonic() + self._timeouts.connect_s
        while not self._connected:
            if not self._news.poll(_left_ms(deadline)):
                raise Unreachable(f"Nobody answers at {self._address} (waited {self._timeouts.connect_s:g} s).")
            self._read_news()

    def _receive(self, timeout_s: float) -> Message:
        deadline = time.monotonic() + timeout_s
        while True:
            ready = dict(self._poller.poll(_left_ms(deadline)))
            if not ready:
                raise DeadlineExceeded(f"{self._address} did not answer within {timeout_s:g} s.")
            self._read_news()
            # Whatever came before the connection was lost is still there to read.
            if self._socket.poll(0):
                reply, correlation = unpack(self._socket.recv_multipart())
                if correlation == self._correlation:
                    return reply
            elif not self._connected:
                # Opened anew, or the request would be sent again to whoever listens there next.
                self.close()
                self._open()
                raise Unreachable(f"The connection to {self._address} was lost.")


def _left_ms(deadline: float) -> int:
    return max(0, int((deadline - time.monotonic()) * 1000))


class ZmqServer:
    """The server's end; see `Server`. One thread receives, works and replies, for one tail is computed at a time.

    What arrives while it works waits in ZeroMQ's queues, so with several clients that wait counts as network.
    """

    def __init__(self, address: Address, handler: Handler, timeouts: Timeouts) -> None:
        self._handler = handler
        self._socket = _socket(zmq.ROUTER, timeouts)
        self._socket.router_mandatory = 1
        self._socket.router_handover = 1
        try:
            self._socket.bind(f"tcp://{_numeric(address)}")
        except (zmq.ZMQError, OSError) as error:
            self._socket.close(linger=0)
            raise WireError(f"Cannot listen at {address}: {str(error).lower()}.") from None
        bound = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.address = Address(address.scheme, address.host, int(bound.rpartition(":")[2]))

        context: Any = zmq.Context.instance()
        wake = f"inproc://wake-{id(self)}"
        self._stopped, self._stop = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        self._stopped.bind(wake)
        self._stop.connect(wake)
        self._grace_s = 0.0
        self._thread = threading.Thread(target=self._serve, name="zmq-server", daemon=True)
        self._thread.start()

    def close(self, grace_s: float = 5.0) -> None:
        """See `Server.close`."""
        if self._stop.closed:
            return
        self._grace_s = grace_s
        self._stop.send(b"")
        self._thread.join()
        self._stop.close(linger=0)

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._stopped, zmq.POLLIN)
        while self._stopped not in dict(poller.poll()):
            self._answer_one()
        self._socket.unbind(self._socket.last_endpoint)
        deadline = time.monotonic() + self._grace_s
        while time.monotonic() < deadline and self._socket.poll(0):
            self._answer_one()
        self._stopped.close(linger=0)
        self._socket.close(linger=LAST_REPLIES_MS)

    def _answer_one(self) -> None:
        client, *frames = self._socket.recv_multipart()
        arrived_ns = time.monotonic_ns()
        request = None
        try:
            request, _ = unpack(frames)
            reply = self._handler.handle(request, arrived_ns)
        except Exception as error:
            reply = error_reply(refusal(error))
        # A client that went away, or does not read its answers, is not waited for.
        with contextlib.suppress(zmq.Again, zmq.ZMQError):
            self._socket.send_multipart([client, *pack(reply, _correlation(frames))], zmq.DONTWAIT, copy=False)
        if request is not None:
            self._after(request)

    def _after(self, request: Message) -> None:
        try:
            self._handler.replied(request)
        except Exception:
            log.exception("work after a reply failed")


def _socket(kind: int, timeouts: Timeouts) -> Any:
    made: Any = zmq.Context.instance().socket(kind)
    made.linger = 0
    made.sndhwm = made.rcvhwm = HIGH_WATER_MARK
    made.maxmsgsize = MAX_MESSAGE_BYTES
    made.copy_threshold = COPY_BELOW_BYTES
    made.heartbeat_ivl = made.heartbeat_timeout = int(timeouts.heartbeat_s * 1000)
    # The peer's view of this side: it may forget a connection that has been silent for both.
    made.heartbeat_ttl = 2 * int(timeouts.heartbeat_s * 1000)
    made.ipv6 = True
    return made


def _numeric(address: Address) -> str:
    """``host:port`` for binding, which takes no names."""
    try:
        host = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][4][0]
    except socket.gaierror:
        raise ConfigError(f"{address.host!r} is not the name of a machine.") from None
    return Address(address.scheme, str(host), address.port).netloc
