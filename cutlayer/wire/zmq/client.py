"""The client's end of the ZeroMQ transport."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from queue import Empty, SimpleQueue

import zmq

from cutlayer.errors import ConnectionLost, DeadlineExceeded, DecodeError, Refused, Unreachable, WireError
from cutlayer.wire.address import Address
from cutlayer.wire.handshake import read_error_reply
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.reach import STAGGER_S, Endpoint, Reason, look_up
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts
from cutlayer.wire.trouble import described
from cutlayer.wire.zmq.curve import client_options
from cutlayer.wire.zmq.frames import HIGH_WATER_MARK, LOOK_UP_MS, open_socket, pack, unpack
from cutlayer.wire.zmq.monitor import Connection
from cutlayer.wire.zmq.socket import SharedSocket

Answer = SimpleQueue[Message | WireError | None]

LEAD = None
"""Item of an `Answer` that is no answer: the thread that receives it takes over reading the socket."""


class Answers:
    """The unanswered requests of one client by correlation number. Hold the socket's lock for each call."""

    def __init__(self) -> None:
        self.waiting: dict[int, Answer] = {}
        self._correlation = 0
        # Abandoned requests whose answers may still arrive: single ones, and all up to the last lost connection.
        self._late: set[int] = set()
        self._lost_up_to = 0

    def expect(self, answer: Answer) -> int:
        """Register a request; return its correlation number, which the reply repeats."""
        self._correlation += 1
        self.waiting[self._correlation] = answer
        return self._correlation

    def abandon(self, correlation: int) -> None:
        """Give up a request, if it is unanswered. Its late answer will be dropped."""
        if self.waiting.pop(correlation, None):
            self._late.add(correlation)

    def deliver(self, correlation: int, reply: Message) -> bool:
        """Hand a reply to its thread, or drop it if it is late; return False if there was no such request."""
        if answer := self.waiting.pop(correlation, None):
            answer.put(reply)
            return True
        late = 0 < correlation <= self._lost_up_to or correlation in self._late
        self._late.discard(correlation)
        return late

    def appoint(self) -> None:
        """Make one of the waiting threads read the socket."""
        for answer in self.waiting.values():
            answer.put(LEAD)
            return

    def fail(self, error: WireError) -> None:
        """Answer all requests with this error."""
        for answer in self.waiting.values():
            answer.put(error)
        self.waiting.clear()
        self._late.clear()
        self._lost_up_to = self._correlation


class ZmqClient:
    """The client's end; see `Line`.

    Of the threads that wait for answers, one reads the socket and hands the others their answers, so that a single
    thread gets its answer without a thread switch.

    A DEALER without a peer queues messages silently, so each request first checks the connection. ZMQ_IMMEDIATE is no
    alternative: it drops a reply that is still unread when the server closes the connection.
    """

    def __init__(self, address: Address, timeouts: Timeouts, security: Security) -> None:
        self._address, self._timeouts = address, timeouts
        # A client that reconnects under this identity replaces its old connection. An identity must not begin with 0.
        self._identity = b"c" + secrets.token_bytes(15)
        self._options = {**client_options(security), "reconnect_ivl": 100}
        self._options |= {"reconnect_ivl_max": 1000, "connect_timeout": int(timeouts.connect_s * 1000)}
        self._encrypted = "curve_serverkey" in self._options
        self._answers = Answers()
        # The server drops the answers that its queue to this client has no room for.
        self._places = threading.Semaphore(HIGH_WATER_MARK // 2)
        self._reading = threading.Lock()
        self._closing = self._closed = False
        self._shared = SharedSocket()
        self._connection: Connection | None = None
        self._endpoints: tuple[Endpoint, ...] = ()

    def request(self, message: Message, timeout_s: float) -> Message:
        """See `Line.request`."""
        deadline = time.monotonic() + timeout_s
        if not self._places.acquire(timeout=max(0.0, timeout_s)):
            raise DeadlineExceeded(f"{self._address} has not answered the requests before within {timeout_s:g} s.")
        try:
            return self._request(message, deadline, timeout_s)
        finally:
            self._places.release()

    def _request(self, message: Message, deadline: float, timeout_s: float) -> Message:
        answer: Answer = SimpleQueue()
        # Another thread may hold the lock while it waits for the connection, longer than this request may take.
        if not self._shared.lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise Unreachable.at(self._address, timeout_s)
        try:
            correlation = self._send(message, answer, deadline)
        finally:
            self._shared.lock.release()
        try:
            reply = self._await(answer, deadline)
        finally:
            # Without other unanswered requests there is nothing to abandon, and no thread to appoint.
            if self._answers.waiting:
                with self._shared.lock:
                    self._answers.abandon(correlation)
                    if not self._reading.locked():
                        self._answers.appoint()
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
        # A thread that waits for a connection holds the lock, and releases it once it sees this.
        self._closing = True
        with self._shared.lock:
            if self._closed:
                return
            self._closed = True
            self._lose(Unreachable.closed(self._address))
        # The thread that reads the socket has received the error, and leaves.
        with self._reading:
            self._shared.close()

    def _send(self, message: Message, answer: Answer, deadline: float) -> int:
        """Send a request once the connection is up; return its correlation number."""
        if self._closed:
            raise Unreachable.closed(self._address)
        connection = self._connection
        if connection is not None and connection.poll(0) and connection.look():
            self._end()
        if self._connection is None:
            self._connect(min(deadline - time.monotonic(), self._timeouts.connect_s))
        correlation = self._answers.expect(answer)
        try:
            self._shared.send(pack(message, correlation))
        except zmq.Again:
            del self._answers.waiting[correlation]
            raise Refused("RESOURCE_EXHAUSTED", f"{self._address} takes no further requests now.", 100) from None
        return correlation

    def _await(self, answer: Answer, deadline: float) -> Message | WireError | None:
        """Return the answer; None at the deadline."""
        while True:
            if self._reading.acquire(blocking=False):
                try:
                    return self._lead(answer, deadline)
                finally:
                    self._reading.release()
            try:
                reply = answer.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return None
            if reply is not LEAD:
                return reply

    def _lead(self, answer: Answer, deadline: float) -> Message | WireError | None:
        """Read the socket and hand out the answers until this thread's own arrives; None at the deadline."""
        while True:
            while not answer.empty():
                if (reply := answer.get()) is not LEAD:
                    return reply
            left_ms = int((deadline - time.monotonic()) * 1000)
            if left_ms <= 0:
                return None
            with self._shared.lock:
                if self._connection is None:
                    # All requests have received their error, and the socket is closed.
                    continue
                if self._shared.readable():
                    self._hand_out()
                    continue
                self._shared.about_to_wait()
            self._shared.wait(min(left_ms, LOOK_UP_MS))
            with self._shared.lock:
                self._hand_out()

    def _hand_out(self) -> None:
        """Hand out one answer, or fail all requests if the connection was lost."""
        try:
            connection = self._connection
            if connection is None or self._read_answer() or not connection.look():
                return
        except ConnectionLost as error:
            self._lose(error)
        else:
            self._end()

    def _end(self) -> None:
        """Hand out the answers that arrived before the connection was lost, and fail the other requests."""
        error = ConnectionLost(f"The connection to {self._address} was lost.")
        try:
            while self._read_answer():
                pass
        except ConnectionLost as corrupted:
            error = corrupted
        self._lose(error)

    def _read_answer(self) -> bool:
        """Read one answer and hand it out; return False if none has arrived."""
        frames = self._shared.receive()
        if frames is None:
            return False
        try:
            reply, correlation = unpack(frames)
        except DecodeError as error:
            # The request it answers is unknown, and may even have had its answer.
            raise ConnectionLost(f"Data from {self._address} is corrupted. {error}") from None
        if not self._answers.deliver(correlation, reply):
            # The correlation number was corrupted on the way, so the answer to some request will never arrive.
            raise ConnectionLost(f"Data from {self._address} is corrupted: it answered a request that was not asked.")
        return True

    def _lose(self, error: WireError) -> None:
        """Fail all requests, and close the socket, which would send its queue to the next server there."""
        self._answers.fail(error)
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._shared.drop()

    def _connect(self, timeout_s: float) -> None:
        """Open a socket and await its connection; hold the lock. Raises `Unreachable`, or `Refused`."""
        deadline = time.monotonic() + timeout_s
        with contextlib.closing(Reason(self._address, timeout_s)) as reason:
            while (left_s := deadline - time.monotonic()) > 0 and not self._closing:
                try:
                    # Each time, because the addresses may have changed since the connection was lost.
                    self._endpoints = look_up(self._address, left_s, self._endpoints)
                    break
                except Unreachable as error:
                    reason.no_name(error)
                    time.sleep(min(left_s, LOOK_UP_MS / 1000))
            else:
                raise Unreachable.closed(self._address) if self._closing else reason.error()
            self._connection = self._race(deadline, reason)
        self._shared.hold(self._connection.socket)

    def _race(self, deadline: float, reason: Reason) -> Connection:
        """Connect to each address a little after the one before, and return the first connection that is up."""
        waiting, tried, next_at = list(self._endpoints), list[Connection](), 0.0
        winner: Connection | None = None
        try:
            while winner is None:
                now = time.monotonic()
                if self._closing:
                    raise Unreachable.closed(self._address)
                if now >= deadline:
                    raise next(filter(None, (connection.trouble for connection in tried)), None) or reason.error()
                if waiting and (now >= next_at or all(connection.failed for connection in tried)):
                    tried.append(self._attempt(waiting.pop(0), len(tried)))
                    next_at = now + STAGGER_S
                if now >= reason.half_way:
                    reason.ask(self._endpoints)
                until = min(deadline, now + LOOK_UP_MS / 1000, next_at if waiting else deadline)
                zmq.zmq_poll([(connection.monitor, zmq.POLLIN) for connection in tried], int((until - now) * 1000) + 1)
                for connection in tried:
                    connection.look()
                winner = next((connection for connection in tried if connection.up), None)
                if not waiting and all(isinstance(connection.trouble, Refused) for connection in tried) and not winner:
                    raise tried[0].trouble  # type: ignore[misc]
            return winner
        finally:
            for connection in tried:
                if connection is not winner:
                    connection.close()
                    connection.socket.close(linger=0)

    def _attempt(self, endpoint: Endpoint, number: int) -> Connection:
        # Two names of one server must not seem to be one client that has come back.
        identity = self._identity[:-1] + bytes([self._identity[-1] ^ number])
        with described(f"No server is reached at {self._address}"):
            socket = open_socket(zmq.DEALER, self._timeouts, {**self._options, "identity": identity})
            connection = Connection(socket, self._address, self._encrypted)
        socket.connect(f"tcp://{endpoint.netloc}")
        return connection
