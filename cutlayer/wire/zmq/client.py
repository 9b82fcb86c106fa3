"""The client's end of the ZeroMQ transport."""

from __future__ import annotations

import secrets
import threading
import time
from queue import Empty, SimpleQueue

import zmq

from cutlayer.errors import ConnectionLost, DeadlineExceeded, DecodeError, Refused, Unreachable, WireError
from cutlayer.wire.address import Address
from cutlayer.wire.handshake import read_error_reply
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Handler, Timeouts
from cutlayer.wire.zmq.curve import client_options
from cutlayer.wire.zmq.frames import LOOK_UP_MS, open_socket, pack, unpack
from cutlayer.wire.zmq.monitor import Connection
from cutlayer.wire.zmq.server import ZmqServer
from cutlayer.wire.zmq.socket import SharedSocket

_LEAD = None
"""Put where an answer would go: wait at the socket for all."""

Answer = SimpleQueue[Message | WireError | None]


class Zmq:
    """The client's end; see `Line`.

    Of the threads that wait for answers, one at a time waits at the socket and hands the others theirs, so that a
    thread which is alone gets its answer without help.

    A DEALER with no peer takes message after message and says nothing, so it is asked first whether it has one. Not by
    ZMQ_IMMEDIATE: that drops a reply which is still unread when the server closes the connection behind it.
    """

    def __init__(self, address: Address, timeouts: Timeouts, security: Security) -> None:
        self._address, self._timeouts, self._security = address, timeouts, security
        # A client that comes back under this name replaces the connection it had. A name must not begin with a 0.
        name = b"c" + secrets.token_bytes(15)
        self._options = {**client_options(security), "identity": name, "reconnect_ivl": 100}
        self._options |= {"reconnect_ivl_max": 1000, "connect_timeout": int(timeouts.connect_s * 1000)}
        self._correlation = 0
        self._answers: dict[int, Answer] = {}
        # Requests given up, whose answers may still come: some, and all before the last connection was lost.
        self._late: set[int] = set()
        self._lost_up_to = 0
        self._at_socket = threading.Lock()
        self._closing = self._closed = False
        self._shared = SharedSocket()
        self._open()

    @staticmethod
    def listen(address: Address, handler: Handler, timeouts: Timeouts, security: Security) -> ZmqServer:
        """A server at this address."""
        return ZmqServer(address, handler, timeouts, security)

    def request(self, message: Message, timeout_s: float) -> Message:
        """See `Line.request`."""
        deadline = time.monotonic() + timeout_s
        answer: Answer = SimpleQueue()
        # Another may be waiting for the connection, with more patience than is left here.
        if not self._shared.lock.acquire(timeout=max(0.0, timeout_s)):
            raise Unreachable.at(self._address, timeout_s)
        try:
            correlation = self._send(message, answer, deadline)
        finally:
            self._shared.lock.release()
        try:
            reply = self._await(answer, deadline)
        finally:
            # One who is alone has his answer by now, and left nobody at the socket.
            if self._answers:
                with self._shared.lock:
                    if self._answers.pop(correlation, None):
                        self._late.add(correlation)
                    if not self._at_socket.locked():
                        self._pass_on()
        if reply is None:
            raise DeadlineExceeded(f"{self._address} did not answer within {timeout_s:g} s.")
        if isinstance(reply, WireError):
            raise reply
        if reply.kind is Kind.ERROR:
            raise read_error_reply(reply)
        if reply.kind is not message.kind:
            raise DecodeError(f"{self._address} answered {message.kind.name} with {reply.kind.name}.")
        return reply

    def close(self) -> None:
        """See `Line.close`."""
        # Whoever waits for a connection has the lock, and lets it go once he sees this.
        self._closing = True
        with self._shared.lock:
            if self._closed:
                return
            self._closed = True
            self._lose(self._closed_here())
        # Whoever waits at the socket has been told, and leaves.
        with self._at_socket:
            self._shared.close()

    def _send(self, message: Message, answer: Answer, deadline: float) -> int:
        """Ask, once there is a peer; the number that the reply repeats."""
        if self._closed:
            raise self._closed_here()
        if self._connection.stir(0) and self._connection.look():
            self._end()
        if not self._connection.stands:
            self._await_connection(min(deadline - time.monotonic(), self._timeouts.connect_s))
        self._correlation += 1
        self._answers[self._correlation] = answer
        try:
            self._shared.send(pack(message, self._correlation))
        except zmq.Again:
            del self._answers[self._correlation]
            raise Refused("RESOURCE_EXHAUSTED", f"{self._address} takes no further requests now.", 100) from None
        return self._correlation

    def _await(self, answer: Answer, deadline: float) -> Message | WireError | None:
        """The answer; None when it does not come in time."""
        while True:
            if self._at_socket.acquire(blocking=False):
                try:
                    return self._lead(answer, deadline)
                finally:
                    self._at_socket.release()
            try:
                given = answer.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return None
            if given is not _LEAD:
                return given

    def _lead(self, answer: Answer, deadline: float) -> Message | WireError | None:
        """Wait at the socket, and hand out what comes, until one's own answer has come."""
        while True:
            while not answer.empty():
                if (given := answer.get()) is not _LEAD:
                    return given
            left_ms = int((deadline - time.monotonic()) * 1000)
            if left_ms <= 0:
                return None
            with self._shared.lock:
                if self._closed:
                    # Everybody has been told, and there is no socket.
                    continue
                if self._shared.readable():
                    self._hand_out()
                    continue
                self._shared.about_to_wait()
            self._shared.wait(min(left_ms, LOOK_UP_MS))
            with self._shared.lock:
                self._hand_out()

    def _hand_out(self) -> None:
        """Give an answer to the one who waits for it; all of them are told when the connection was lost."""
        try:
            if self._closed or self._read_answer() or not self._connection.look():
                return
        except ConnectionLost as error:
            self._lose(error)
        else:
            self._end()

    def _end(self) -> None:
        """The connection was lost; what came before is there to read."""
        error = ConnectionLost(f"The connection to {self._address} was lost.")
        try:
            while self._read_answer():
                pass
        except ConnectionLost as worse:
            error = worse
        self._lose(error)

    def _read_answer(self) -> bool:
        """Whether there was one."""
        frames = self._shared.receive()
        if frames is None:
            return False
        try:
            reply, correlation = unpack(frames)
        except DecodeError as error:
            # Whose it should have been is not to be known; it may even be the end of an answer that was given.
            raise ConnectionLost(f"{self._address} spoils what travels. {error}") from None
        if answer := self._answers.pop(correlation, None):
            answer.put(reply)
        elif not self._is_late(correlation):
            # A bit of the number was changed on the way, and whoever asked would wait for nothing.
            raise ConnectionLost(f"{self._address} spoils what travels. It answered what was not asked.")
        return True

    def _is_late(self, correlation: int) -> bool:
        """Whether this is the answer to a request that was given up, which is nobody's any more."""
        late = 0 < correlation <= self._lost_up_to or correlation in self._late
        self._late.discard(correlation)
        return late

    def _pass_on(self) -> None:
        """Ask one of those who wait to wait at the socket, for nobody does."""
        for answer in self._answers.values():
            answer.put(_LEAD)
            return

    def _lose(self, error: WireError) -> None:
        """Tell everybody, and open a new socket, or requests would be sent again to whoever listens there next."""
        for answer in self._answers.values():
            answer.put(error)
        self._answers.clear()
        self._late.clear()
        self._lost_up_to = self._correlation
        self._connection.close()
        self._shared.drop()
        if not self._closed:
            self._open()

    def _open(self) -> None:
        made = open_socket(zmq.DEALER, self._timeouts, self._options)
        self._connection = Connection(made, self._address, self._security.curve)
        self._shared.hold(made)
        made.connect(f"tcp://{self._address.netloc}")

    def _await_connection(self, timeout_s: float) -> None:
        connection, deadline = self._connection, time.monotonic() + timeout_s
        while not connection.stands:
            left_ms = int((deadline - time.monotonic()) * 1000)
            if left_ms > 0 and not self._closing:
                connection.wait(min(left_ms, LOOK_UP_MS))
            connection.look()
            if self._closing:
                raise self._closed_here()
            if isinstance(connection.trouble, Refused) or (left_ms <= 0 and not connection.stands):
                error = connection.trouble or Unreachable.at(self._address, timeout_s)
                self._lose(error)
                raise error

    def _closed_here(self) -> Unreachable:
        return Unreachable(f"The connection to {self._address} was closed on this side.")
