"""The client's end of the ZeroMQ transport."""

from __future__ import annotations

import time

import zmq
from zmq.utils.monitor import recv_monitor_message

from cutlayer.errors import DeadlineExceeded, DecodeError, Unreachable
from cutlayer.wire.handshake import read_error_reply
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.transport import Address, Handler, Timeouts
from cutlayer.wire.zmq_frames import LOOK_UP_MS, open_socket, pack, unpack
from cutlayer.wire.zmq_server import ZmqServer


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
        self._socket = open_socket(zmq.DEALER, self._timeouts)
        self._socket.reconnect_ivl, self._socket.reconnect_ivl_max = 100, 1000
        self._socket.connect_timeout = int(self._timeouts.connect_s * 1000)
        # Requests that nobody answered may have filled the queue to a server that hangs.
        self._socket.sndtimeo = int(self._timeouts.connect_s * 1000)
        self._news = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._connected = False
        self._socket.connect(f"tcp://{self._address.netloc}")

    def _read_news(self) -> None:
        while self._news.getsockopt(zmq.EVENTS) & zmq.POLLIN:
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
            left_ms = int((deadline - time.monotonic()) * 1000)
            if left_ms < 0:
                raise DeadlineExceeded(f"{self._address} did not answer within {timeout_s:g} s.")
            # Waiting for the reply alone, with a look at the news now and then, is faster than polling for both.
            self._socket.rcvtimeo = min(left_ms, LOOK_UP_MS)
            try:
                reply, correlation = unpack(self._socket.recv_multipart())
            except zmq.Again:
                self._check_connection()
                continue
            if correlation == self._correlation:
                return reply

    def _check_connection(self) -> None:
        self._read_news()
        # What came before the connection was lost is there to read.
        if not self._connected and not self._socket.poll(0):
            # Opened anew, or the request would be sent again to whoever listens there next.
            self.close()
            self._open()
            raise Unreachable(f"The connection to {self._address} was lost.")


def _left_ms(deadline: float) -> int:
    return max(0, int((deadline - time.monotonic()) * 1000))
