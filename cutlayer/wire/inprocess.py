"""A function call instead of a socket: what tests and simulations use, and the reference for the real transports."""

from __future__ import annotations

import time
from typing import ClassVar

from cutlayer.errors import DeadlineExceeded, Unreachable, WireError
from cutlayer.wire.message import Message
from cutlayer.wire.transport import Address, Handler, Timeouts, refusal


class InProcess:
    """The client's end. A deadline is noticed once the call is over, for the caller's thread does the work."""

    servers: ClassVar[dict[str, InProcessServer]] = {}

    def __init__(self, address: Address, timeouts: Timeouts) -> None:
        self._address = address

    @classmethod
    def listen(cls, address: Address, handler: Handler, timeouts: Timeouts) -> InProcessServer:
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
        arrived_ns = time.monotonic_ns()
        try:
            reply = server.handler.handle(message, arrived_ns)
        except Exception as error:
            raise refusal(error) from None
        finally:
            server.handler.replied(message)
        if time.monotonic_ns() - arrived_ns > timeout_s * 1e9:
            raise DeadlineExceeded(f"{self._address} took longer than {timeout_s:g} s.")
        return reply

    def close(self) -> None:
        """Nothing is held."""


class InProcessServer:
    """The server's end."""

    def __init__(self, address: Address, handler: Handler) -> None:
        self.address, self.handler = address, handler

    def close(self, grace_s: float = 5.0) -> None:
        """Free the name."""
        InProcess.servers.pop(self.address.host, None)
