"""Which clients of a ZeroMQ server have left, so that nobody computes for them.

A ROUTER says nothing of a peer that goes away; its monitor does, by the descriptor of the connection, which each
message carries too.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from cutlayer.wire.zmq_news import open_news

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
