"""What a ZeroMQ socket tells of its connections, and whether a client has one."""

from __future__ import annotations

import select
import threading
import time
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from cutlayer.errors import Refused, Unreachable, WireError
from cutlayer.wire.address import Address

_FAILED_AUTH, _FAILED_PROTOCOL = zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_FAILED_SILENTLY = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | _FAILED_AUTH | _FAILED_PROTOCOL | _FAILED_SILENTLY


def open_news(made: Any, events: int) -> Any:
    """A socket that gets these events of another, which was not bound or connected yet; both are the caller's."""
    endpoint = f"inproc://news-{int(made.fd)}"
    made.monitor(endpoint, events)
    news = made.context.socket(zmq.PAIR)
    # Without a limit: where the queue is full, ZeroMQ's own thread would wait, and with it every connection.
    news.rcvhwm = 0
    news.connect(endpoint)
    return news


class Connection:
    """Whether a client's socket has a peer, and why not. For one thread at a time.

    Args:
        made: The socket, before it is connected.
        address: Of the server, for sentences.
        encrypted: Whether this side speaks CURVE.

    Attributes:
        stands: As of the last look.
        trouble: What went wrong in the last handshake that failed; a `Refused` is final.
        stir: Called with 0, something if there is news.
    """

    def __init__(self, made: Any, address: Address, encrypted: bool) -> None:
        self._made, self._address, self._encrypted = made, address, encrypted
        self.stands = False
        self.trouble: WireError | None = None
        self._news = open_news(made, _EVENTS)
        poller = select.poll()
        poller.register(int(self._news.fd), select.POLLIN)
        self.stir = poller.poll

    def look(self) -> bool:
        """Read what is new; whether a connection was lost since the last look."""
        lost = False
        while self._news.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            event = recv_monitor_message(self._news)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.stands = True
            elif event == zmq.EVENT_DISCONNECTED:
                lost, self.stands = lost or self.stands, False
            else:
                self.trouble = self._why_not(event)
        return lost

    def wait(self, timeout_ms: int) -> None:
        """Until there is news, at most for so long."""
        self._news.poll(timeout_ms)

    def close(self) -> None:
        """Watch no longer; before the socket is closed."""
        self._made.disable_monitor()
        self._news.close(linger=0)

    def _why_not(self, event: int) -> WireError:
        if event == _FAILED_AUTH:
            return Refused("UNAUTHENTICATED", f"{self._address} does not admit this side's key; see its --allow.")
        if event == _FAILED_PROTOCOL:
            spoken, here = ("plain text", "CURVE") if self._encrypted else ("CURVE", "plain text")
            return Refused(
                "UNAUTHENTICATED",
                f"{self._address} does not speak {here} but {spoken}, or no ZeroMQ; CURVE is for both sides or none: "
                "the server's --curve-key and the client's --curve-server.",
            )
        if self._encrypted:
            return Unreachable(f"{self._address} breaks off the handshake; is --curve-server its public key?")
        return Unreachable(f"{self._address} breaks off the handshake; does ZeroMQ listen there?")


_ACCEPTED, _DISCONNECTED, _CLOSED = int(zmq.EVENT_ACCEPTED), int(zmq.EVENT_DISCONNECTED), int(zmq.EVENT_CLOSED)


class Departures:
    """Watches the connections of a server's socket.

    A descriptor is used again once its connection is closed. That it was closed is told before, and that it was
    accepted anew is told before a message comes by it. So who reads all there is to read, and forgets a departure at
    the first message by the same descriptor, takes nobody for gone who is there.

    Args:
        made: The server's socket, before it is bound.
    """

    def __init__(self, made: Any) -> None:
        self._news = open_news(made, _ACCEPTED | _DISCONNECTED | _CLOSED)
        self.descriptor = int(self._news.fd)
        self._lock = threading.Lock()
        self._gone: set[int] = set()
        self._unbound = False
        # The descriptor stirs for what comes after the last look.
        self._read()

    def has_left(self, source: int) -> bool:
        """Whether the connection of this descriptor was closed; by any thread."""
        return source in self._gone

    def heard(self, source: int) -> None:
        """A message came by this descriptor; by the thread that receives."""
        self._gone.discard(source)

    def look(self) -> None:
        """Read what is new; by the thread that receives, once `descriptor` stirs."""
        with self._lock:
            if not self._news.closed:
                self._read()

    def await_unbound(self, timeout_s: float) -> None:
        """Until the socket has left its port, which is free from then on."""
        until = time.monotonic() + timeout_s
        with self._lock:
            while not self._unbound and (left_s := until - time.monotonic()) > 0:
                self._news.poll(int(left_s * 1000) + 1)
                self._read()

    def close(self) -> None:
        """Watch no longer."""
        with self._lock:
            self._news.close(linger=0)

    def _read(self) -> None:
        gone = set(self._gone)
        while self._news.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            news = recv_monitor_message(self._news)
            if news["event"] == _DISCONNECTED:
                gone.add(news["value"])
            elif news["event"] == _ACCEPTED:
                gone.discard(news["value"])
            else:
                self._unbound = True
        # At once, for of two events the second may take back the first.
        self._gone = gone
