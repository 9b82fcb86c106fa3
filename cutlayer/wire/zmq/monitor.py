"""Connections of a ZeroMQ socket, from the events of its monitor."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from cutlayer.errors import Refused, Unreachable, WireError
from cutlayer.wire.address import Address
from cutlayer.wire.peer import UNKNOWN, Peer, at, network
from cutlayer.wire.visitors import Visitors

_FAILED_AUTH, _FAILED_PROTOCOL = zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_FAILED_SILENTLY = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_RETRIED = zmq.EVENT_CONNECT_RETRIED
_FAILURES = _FAILED_AUTH | _FAILED_PROTOCOL | _FAILED_SILENTLY | _RETRIED
_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | _FAILURES


def open_monitor(socket: Any, events: int) -> Any:
    """Return a socket that receives these events of another one, before that is bound or connected. Close both."""
    endpoint = f"inproc://monitor-{int(socket.fd)}"
    socket.monitor(endpoint, events)
    monitor = socket.context.socket(zmq.PAIR)
    # No limit: a full queue would block ZeroMQ's own thread, and with it every connection.
    monitor.rcvhwm = 0
    monitor.connect(endpoint)
    return monitor


class Connection:
    """Whether a client's socket has a peer, and if not, the reason. For one thread at a time.

    Args:
        socket: The client's socket, before it is connected.
        address: Address of the server, for error messages.
        encrypted: Whether this side uses CURVE.

    Attributes:
        up: Whether the connection was up at the last `look`.
        failed: Whether an attempt to connect has failed; ZeroMQ goes on trying.
        trouble: Error of the last failed handshake; a `Refused` is final.
        monitor: Socket that receives the events.
        poll: Called with 0, returns a list that is not empty if there are unread events.
    """

    def __init__(self, socket: Any, address: Address, encrypted: bool) -> None:
        self.socket, self._address, self._encrypted = socket, address, encrypted
        self.up = self.failed = False
        self.trouble: WireError | None = None
        self.monitor = open_monitor(socket, _EVENTS)
        poller = select.poll()
        poller.register(int(self.monitor.fd), select.POLLIN)
        self.poll = poller.poll

    def look(self) -> bool:
        """Read the new events; return whether a connection was lost since the last look."""
        lost = False
        while self.monitor.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            event = recv_monitor_message(self.monitor)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.up = True
            elif event == zmq.EVENT_DISCONNECTED:
                lost, self.up = lost or self.up, False
            elif event == _RETRIED:
                self.failed = True
            else:
                self.failed = True
                self.trouble = self._handshake_error(event)
        return lost

    def close(self) -> None:
        """Stop watching. Call it before the socket is closed."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)

    def _handshake_error(self, event: int) -> WireError:
        if event == _FAILED_AUTH:
            return Refused("UNAUTHENTICATED", f"{self._address} does not admit this side's key; see its --allow.")
        if event == _FAILED_PROTOCOL:
            spoken, here = ("plain text", "CURVE") if self._encrypted else ("CURVE", "plain text")
            return Refused(
                "UNAUTHENTICATED",
                f"{self._address} speaks {spoken} instead of {here}, or no ZeroMQ at all. CURVE is for both sides or "
                "none; give the server --curve-key and the client --curve-server.",
            )
        if self._encrypted:
            # A server of plain text may have closed the connection before its greeting was read.
            return Unreachable(
                f"{self._address} broke off the handshake; check that --curve-server is its public key, and that it "
                "has a --curve-key: CURVE is for both sides or none."
            )
        return Unreachable(f"{self._address} broke off the handshake; check that a ZeroMQ server listens there.")


_ACCEPTED, _DISCONNECTED, _CLOSED = int(zmq.EVENT_ACCEPTED), int(zmq.EVENT_DISCONNECTED), int(zmq.EVENT_CLOSED)
_DENIED, _BROKEN = int(_FAILED_AUTH), (int(_FAILED_PROTOCOL), int(_FAILED_SILENTLY))
_WHY = (
    "the handshake failed: it does not know this server's public key, only one side uses CURVE, it speaks no ZeroMQ, "
    "or it has left."
)
_NOBODY = Peer(None)


class Departures:
    """The clients of a server's socket: their addresses, and which have disconnected.

    A client is known by the descriptor of its connection, and the system reuses descriptors. ZeroMQ reports a
    disconnection before the descriptor is reused, and a new connection before its first message. So a client that is
    connected never counts as gone if `look` reads all events, and a message clears the mark of its descriptor.

    A message may be received after its connection was closed, even after another client has the descriptor. So who it
    is from, by key and address, is told by the message and not by its descriptor.

    Args:
        socket: The server's socket, before it is bound.
        visitors: The log of the server.
    """

    def __init__(self, socket: Any, visitors: Visitors) -> None:
        self._visitors = visitors
        # Peers by descriptor, and descriptors that nothing was heard from.
        self._peers: dict[int, Peer] = {}
        self._unheard: set[int] = set()
        # Whether the next to disconnect has failed, and how many were denied, which the doorkeeper has said already.
        self._failed, self._denied = False, 0
        self._monitor = open_monitor(socket, _ACCEPTED | _DISCONNECTED | _CLOSED | _DENIED | sum(_BROKEN))
        self.descriptor = int(self._monitor.fd)
        self._lock = threading.Lock()
        self._gone: set[int] = set()
        self._unbound = 0
        # The descriptor signals only events that arrive after a read.
        self._read()

    def has_left(self, source: int) -> bool:
        """Return whether the connection with this descriptor was closed. Any thread may call it."""
        return source in self._gone

    def heard(self, source: int, connection: bytes, identity: str, host: Callable[[], str]) -> Peer:
        """Note a message, and return who it is from. For the thread that receives.

        Args:
            source: Descriptor of its connection.
            connection: Routing id of its connection.
            identity: What its connection has proven; see `Peer`.
            host: Returns the address from which it came.
        """
        self._gone.discard(source)
        peer = self._peers.get(source, _NOBODY)
        if peer.connection == connection and peer.identity == identity:
            return peer
        # The event of its arrival may have come, but was not read yet.
        self.look()
        from_network = network(host())
        peer = self._peers.get(source, _NOBODY)._replace(connection=connection, identity=identity)
        if source not in self._peers or peer.network != from_network:
            # Its connection is closed, and the descriptor is that of no client, or of another one.
            return Peer(connection, UNKNOWN, from_network, identity)
        self._peers[source] = peer
        if source in self._unheard:
            self._unheard.discard(source)
            self._visitors.arrived(peer.name)
        return peer

    def connected(self) -> list[Peer]:
        """Return the connected clients; one without a message so far has no identity yet. Any thread may call it."""
        return list(self._peers.values())

    def look(self) -> None:
        """Read the new events. For the thread that receives, when `descriptor` is readable."""
        with self._lock:
            if not self._monitor.closed:
                self._read()

    def await_unbound(self, timeout_s: float, n_addresses: int) -> None:
        """Wait until the socket has left its port at this many addresses, which is then free."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            while self._unbound < n_addresses and (left_s := deadline - time.monotonic()) > 0:
                self._monitor.poll(int(left_s * 1000) + 1)
                self._read()

    def close(self) -> None:
        """Stop watching."""
        with self._lock:
            self._monitor.close(linger=0)

    def _read(self) -> None:
        gone = set(self._gone)
        while self._monitor.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            message = recv_monitor_message(self._monitor)
            event, descriptor = int(message["event"]), int(message["value"])
            if event == _DISCONNECTED:
                gone.add(descriptor)
                peer = self._peers.pop(descriptor, _NOBODY).name
                self._unheard.discard(descriptor)
                if self._failed:
                    self._visitors.turned_away(peer, "protocol", _WHY)
                    self._failed = False
            elif event == _ACCEPTED:
                gone.discard(descriptor)
                self._peers[descriptor] = _peer(descriptor)
                self._unheard.add(descriptor)
            elif event == _DENIED:
                self._denied += 1
            elif event in _BROKEN:
                # Its value is no descriptor; the event of the disconnection follows.
                self._failed = not self._denied
                self._denied = max(0, self._denied - 1)
            else:
                self._unbound += 1
        # Replaced as a whole, because a later event may cancel an earlier one.
        self._gone = gone


def _peer(descriptor: int) -> Peer:
    """Return the peer at the other end of a connection, unless that is closed already."""
    with contextlib.suppress(OSError):
        # The descriptor may already be that of something else.
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            with socket.socket(fileno=os.dup(descriptor)) as connection:
                if connection.family in (socket.AF_INET, socket.AF_INET6):
                    return at(None, *connection.getpeername()[:2])
    return _NOBODY
