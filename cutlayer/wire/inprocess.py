"""A function call instead of a socket: what tests and simulations use, and the reference for the real transports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import ClassVar

from cutlayer.errors import DeadlineExceeded, Refused, Unreachable, WireError
from cutlayer.wire.address import Address
from cutlayer.wire.message import Message
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Handler, Timeouts


class InProcess:
    """The client's end. While the caller's thread does the work, a deadline is noticed only once that is over."""

    servers: ClassVar[dict[str, InProcessServer]] = {}

    def __init__(self, address: Address, timeouts: Timeouts, security: Security) -> None:
        self._address = address

    @classmethod
    def listen(cls, address: Address, handler: Handler, timeouts: Timeouts, security: Security) -> InProcessServer:
        """A server under this name."""
        if address.host in cls.servers:
            raise WireError(f"{address} is taken in this process.")
        cls.servers[address.host] = server = InProcessServer(address, handler)
        return server

    def request(self, message: Message, timeout_s: float) -> Message:
        """See `Transport.request`."""
        server = self.servers.get(self._address.host)
        if server is None:
            raise Unreachable(f"Nobody listens at {self._address} in this process.")
        caller, arrived_ns = _Waiting(), time.monotonic_ns()
        server.handler.submit(message, arrived_ns, caller, lend=True)
        if not caller.answered.acquire(timeout=timeout_s):
            caller.left = True
            raise DeadlineExceeded(f"{self._address} did not answer within {timeout_s:g} s.")
        if isinstance(caller.reply, Refused):
            raise caller.reply
        if time.monotonic_ns() - arrived_ns > timeout_s * 1e9:
            raise DeadlineExceeded(f"{self._address} took longer than {timeout_s:g} s.")
        return caller.reply

    def close(self) -> None:
        """Nothing is held."""


class _Waiting:
    """The caller's thread; see `Caller`."""

    reply: Message | Refused

    def __init__(self) -> None:
        self.client = threading.get_ident()
        self.left = False
        self.answered = threading.Lock()
        self.answered.acquire()

    def gone(self) -> bool:
        return self.left

    def answer(self, reply: Message | Refused, sent: Callable[[], None]) -> None:
        self.reply = reply
        self.answered.release()
        sent()


class InProcessServer:
    """The server's end."""

    def __init__(self, address: Address, handler: Handler) -> None:
        self.address, self.handler = address, handler

    def close(self, grace_s: float = 5.0) -> None:
        """Free the name."""
        InProcess.servers.pop(self.address.host, None)
