"""The server's end of the ZeroMQ transport."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import zmq

from cutlayer.errors import DecodeError, Refused, WireError
from cutlayer.wire.address import Address
from cutlayer.wire.codecs.base import Buffer
from cutlayer.wire.handshake import error_reply
from cutlayer.wire.message import Message
from cutlayer.wire.peer import Peer
from cutlayer.wire.reach import Endpoint, bind_all
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Caller, Handler, Timeouts, nothing, refusal
from cutlayer.wire.visitors import Visitors
from cutlayer.wire.watch import Watch
from cutlayer.wire.zmq.curve import Doorkeeper, server_options
from cutlayer.wire.zmq.frames import LOOK_UP_MS, MOST_FRAMES, correlation_of, open_socket, pack, unpack
from cutlayer.wire.zmq.monitor import Departures
from cutlayer.wire.zmq.socket import SharedSocket

LAST_REPLIES_MS = 1000

HANDSHAKE_S = 10.0
"""Time of a connection for the handshake of ZeroMQ."""

IO_THREADS = 4
"""Threads of ZeroMQ that read and decrypt: a message of many MB, with CURVE, does not hold up all connections."""

COMPANY_S = 10.0
"""Seconds after overlapping requests, or a change of client, in which the server expects that to happen again."""


class ZmqServer:
    """The server's end; see `Server`.

    One thread receives requests and stamps their arrival. For a single client that waits for each answer, this thread
    also runs the handler, which saves a thread switch. With several clients it only receives. The thread that has an
    answer sends it.
    """

    def __init__(
        self, address: Address, handler: Handler, timeouts: Timeouts, security: Security, visitors: Visitors
    ) -> None:
        self._handler, self._visitors = handler, visitors
        options = {**server_options(security), "router_mandatory": 1, "router_handover": 1}
        options["handshake_ivl"] = int(HANDSHAKE_S * 1000)
        # A list of admitted keys applies to a whole context, so each server has its own context.
        self._context = zmq.Context(IO_THREADS)
        self._doorkeeper = Doorkeeper(self._context, security.allow, visitors) if security.allow else None
        router = open_socket(zmq.ROUTER, timeouts, options, self._context)
        self._departures = Departures(router, visitors)
        self._watch = Watch(visitors, 2 * timeouts.heartbeat_s)
        self._bound: list[str] = []
        try:
            port = bind_all(address, partial(self._bind, router))
        except WireError:
            self._departures.close()
            router.close(linger=0)
            self._end_context()
            raise
        self.address = Address(address.scheme, address.host, port)

        self._shared = SharedSocket()
        self._shared.hold(router)
        self._shared.watch(self._departures.descriptor, self._departures.look)
        self._last_client, self._company_until, self._lent = b"", 0.0, False
        self._all_answered = threading.Condition(self._shared.lock)
        self._unanswered = 0
        self._closing = self._closed = False
        self._thread = threading.Thread(target=self._serve, name="zmq-server", daemon=True)
        self._thread.start()
        self._watch.start(self.address.port, self._end_removed, lambda: not self._lent)

    def close(self, grace_s: float = 5.0) -> None:
        """See `Server.close`."""
        deadline = time.monotonic() + grace_s
        with self._shared.lock:
            if self._closing:
                return
            self._closing = True
            self._shared.wake()
        self._thread.join(max(0.1, grace_s))
        with self._shared.lock:
            self._all_answered.wait_for(lambda: not self._unanswered, max(0.0, deadline - time.monotonic()))
            self._closed = True
            # Unbinding ends the connections too, and drops unsent replies unless they may linger.
            self._shared.socket.linger = LAST_REPLIES_MS
            for bound in self._bound:
                self._shared.socket.unbind(bound)
            # ZeroMQ's thread unbinds, and the monitor reports when the port is free.
            self._departures.await_unbound(LAST_REPLIES_MS / 1000, len(self._bound))
            self._shared.socket.disable_monitor()
            self._shared.drop(linger_ms=LAST_REPLIES_MS)
            self._departures.close()
        self._thread.join(max(0.1, deadline - time.monotonic()))
        self._watch.close()
        self._shared.close()
        self._end_context()

    def _bind(self, router: Any, endpoint: Endpoint) -> int:
        try:
            router.bind(f"tcp://{endpoint.netloc}")
        except zmq.ZMQError as error:
            raise OSError(error.errno, str(error)) from None
        self._bound.append(str(router.getsockopt_string(zmq.LAST_ENDPOINT)))
        return int(self._bound[-1].rpartition(":")[2])

    def _end_removed(self) -> None:
        """End the connections of the keys that are no longer on the list."""
        if self._doorkeeper is None:
            return
        some_removed = self._doorkeeper.look()
        for peer in self._departures.connected():
            if self._doorkeeper.removed(peer.identity) or (some_removed and not self._doorkeeper.lists(peer.identity)):
                # Only a message tells the key. A silent client whose key is still on the list connects again.
                which = "its CURVE key" if peer.identity else "a CURVE key, perhaps that of this silent client,"
                self._watch.end(peer.name, "key", f"{which} was removed from the list.")

    def _end_context(self) -> None:
        if self._doorkeeper is not None:
            self._doorkeeper.close()
        self._context.term()

    def _answer(self, client: bytes, correlation: int, reply: Message | Refused, sent: Callable[[], None]) -> None:
        """Send an answer. Any thread may call it."""
        message = error_reply(reply) if isinstance(reply, Refused) else reply
        with self._shared.lock:
            if not self._closed:
                if self._lent and self._shared.readable():
                    # A request came while the receiving thread computed, so its stamp is late; avoid that from now on.
                    self._company_until = time.monotonic() + COMPANY_S
                # Do not wait for a client that has left or does not read its answers.
                with contextlib.suppress(zmq.ZMQError):
                    self._shared.send([client, *pack(message, correlation)])
            self._unanswered -= 1
            if self._closing and not self._unanswered:
                self._all_answered.notify_all()
        sent()

    def _serve(self) -> None:
        while (received := self._receive()) is not None:
            arrived_ns = time.monotonic_ns()
            client, peer, frames = received
            self._lent = self._is_alone(client)
            self._take(client, peer, frames, arrived_ns, self._lent)
            self._lent = False

    def _is_alone(self, client: bytes) -> bool:
        now = time.monotonic()
        if client != self._last_client:
            if self._last_client:
                self._company_until = now + COMPANY_S
            self._last_client = client
        return now > self._company_until

    def _receive(self) -> tuple[bytes, Peer, list[Buffer]] | None:
        """Return the routing id, the sender and the frames of the next message; None once the server closes."""
        shared, waited = self._shared, False
        while True:
            with shared.lock:
                if self._closed:
                    return None
                # A check for a message is cheaper than a failed attempt to receive one.
                if (waited or shared.readable()) and (frames := shared.receive()) is not None:
                    self._unanswered += 1
                    client = bytes(frames.pop(0))
                    # Without a list of keys nobody has proven one, and to find that out takes longer.
                    identity = shared.user() if self._doorkeeper is not None else ""
                    return client, self._departures.heard(shared.source, client, identity, shared.host), frames
                if self._closing:
                    return None
                shared.about_to_wait()
            shared.wait(LOOK_UP_MS)
            waited = True

    def _take(self, client: bytes, peer: Peer, frames: list[Buffer], arrived_ns: int, lend: bool) -> None:
        gone = partial(self._departures.has_left, self._shared.source)
        self._watch.arrived(peer.name, sum(map(len, frames)))
        if len(frames) + 1 == MOST_FRAMES and (n_more := self._shared.pass_over()):
            why = f"its message has {len(frames) + n_more:,} frames."
            self._watch.bar(peer.name, peer.network, why)
        try:
            request, correlation = unpack(frames)
        except DecodeError as error:
            refused = refusal(error)
            self._visitors.refused(peer.name, refused.code, str(refused))
            self._answer(client, correlation_of(frames), refused, nothing)
            return
        caller = Caller(peer, gone, partial(self._answer, client, correlation))
        self._handler.submit(request, arrived_ns, caller, lend=lend)
