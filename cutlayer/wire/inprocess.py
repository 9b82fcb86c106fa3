"""A function call instead of a socket: for tests and simulations, and the reference for the real transports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from cutlayer.errors import DeadlineExceeded, Refused, Unreachable, WireError
from cutlayer.wire.address import Address
from cutlayer.wire.message import Message
from cutlayer.wire.peer import Peer
from cutlayer.wire.scheme import Scheme
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Caller, Handler, Timeouts
from cutlayer.wire.visitors import Visitors

_servers: dict[str, InProcessServer] = {}


IN_PROCESS = Scheme(
    "A function call within one process, for tests and simulations.",
    client="cutlayer.wire.inprocess:InProcessClient",
    server="cutlayer.wire.inprocess:InProcessServer",
    networked=False,
)


class InProcessClient:
    """The client's end. The caller's thread does the work, so a missed deadline shows only when the work is done."""

    def __init__(self, address: Address, timeouts: Timeouts, security: Security) -> None:
        self._address = address

    def request(self, message: Message, timeout_s: float) -> Message:
        """See `Line.request`."""
        server = _servers.get(self._address.host)
        if server is None:
            raise Unreachable(f"No server listens at {self._address} in this process.")
        replies: SimpleQueue[Message | Refused] = SimpleQueue()
        left, arrived_ns = False, time.monotonic_ns()

        def answer(reply: Message | Refused, sent: Callable[[], None]) -> None:
            replies.put(reply)
            sent()

        caller = Caller(Peer(threading.get_ident(), "this process"), lambda: left, answer)
        server.handler.submit(message, arrived_ns, caller, lend=True)
        try:
            reply = replies.get(timeout=timeout_s)
        except Empty:
            left = True
            raise DeadlineExceeded(f"{self._address} did not answer within {timeout_s:g} s.") from None
        if isinstance(reply, Refused):
            raise reply
        if time.monotonic_ns() - arrived_ns > timeout_s * 1e9:
            raise DeadlineExceeded(f"{self._address} took longer than {timeout_s:g} s.")
        return reply

    def close(self) -> None:
        """Do nothing, since nothing is held open."""


class InProcessServer:
    """The server's end; see `Server`."""

    def __init__(
        self, address: Address, handler: Handler, timeouts: Timeouts, security: Security, visitors: Visitors
    ) -> None:
        if address.host in _servers:
            raise WireError(f"{address} is taken in this process; choose another name.")
        self.address, self.handler = address, handler
        _servers[address.host] = self

    def close(self, grace_s: float = 5.0) -> None:
        """Free the name."""
        _servers.pop(self.address.host, None)
