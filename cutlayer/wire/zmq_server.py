"""The server's end of the ZeroMQ transport."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq

from cutlayer.errors import ConfigError, DecodeError, Refused, WireError
from cutlayer.wire.handshake import error_reply
from cutlayer.wire.message import Message
from cutlayer.wire.transport import Address, Handler, Timeouts, refusal
from cutlayer.wire.zmq_frames import LOOK_UP_MS, correlation_of, open_socket, pack, unpack

LAST_REPLIES_MS = 1000


class ZmqServer:
    """The server's end; see `Server`. One thread receives, works and replies, for one tail is computed at a time.

    What arrives while it works waits in ZeroMQ's queues, so with several clients that wait counts as network.
    """

    def __init__(self, address: Address, handler: Handler, timeouts: Timeouts) -> None:
        self._handler = handler
        self._socket = open_socket(zmq.ROUTER, timeouts)
        self._socket.router_mandatory = 1
        self._socket.router_handover = 1
        try:
            self._socket.bind(f"tcp://{_numeric(address)}")
        except (zmq.ZMQError, OSError) as error:
            self._socket.close(linger=0)
            raise WireError(f"Cannot listen at {address}: {str(error).lower()}.") from None
        bound = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.address = Address(address.scheme, address.host, int(bound.rpartition(":")[2]))

        self._socket.rcvtimeo = LOOK_UP_MS
        self._grace_s: float | None = None
        self._thread = threading.Thread(target=self._serve, name="zmq-server", daemon=True)
        self._thread.start()

    def close(self, grace_s: float = 5.0) -> None:
        """See `Server.close`."""
        self._grace_s = grace_s
        self._thread.join()

    def _serve(self) -> None:
        while self._grace_s is None:
            with contextlib.suppress(zmq.Again):
                self._answer_one()
        self._socket.unbind(self._socket.last_endpoint)
        deadline = time.monotonic() + self._grace_s
        while time.monotonic() < deadline and self._socket.poll(0):
            self._answer_one()
        self._socket.close(linger=LAST_REPLIES_MS)

    def _answer_one(self) -> None:
        client, *frames = self._socket.recv_multipart()
        arrived_ns = time.monotonic_ns()
        caller = _Peer(self._socket, client, correlation_of(frames))
        try:
            request, _ = unpack(frames)
        except DecodeError as error:
            caller.answer(refusal(error), lambda: None)
            return
        # Answered before this returns, for no other thread submits requests.
        self._handler.submit(request, arrived_ns, caller, lend=True)


class _Peer:
    """Whoever waits for the answer to one request; see `Caller`."""

    def __init__(self, socket: Any, client: bytes, correlation: int) -> None:
        self.client = client
        self._socket, self._correlation = socket, correlation

    def gone(self) -> bool:
        return False

    def answer(self, reply: Message | Refused, sent: Callable[[], None]) -> None:
        message = error_reply(reply) if isinstance(reply, Refused) else reply
        # A client that went away, or does not read its answers, is not waited for.
        with contextlib.suppress(zmq.Again, zmq.ZMQError):
            self._socket.send_multipart([self.client, *pack(message, self._correlation)], zmq.DONTWAIT, copy=False)
        sent()


def _numeric(address: Address) -> str:
    """``host:port`` for binding, which takes no names."""
    try:
        host = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][4][0]
    except socket.gaierror:
        raise ConfigError(f"{address.host!r} is not the name of a machine.") from None
    return Address(address.scheme, str(host), address.port).netloc
