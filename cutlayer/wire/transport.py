"""What every transport is: bytes there, bytes back, within a deadline."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from cutlayer.errors import ConfigError, DecodeError, Refused
from cutlayer.wire.address import Address
from cutlayer.wire.message import Message

log = logging.getLogger("cutlayer.wire")

LONGEST_S = 1e6
LONGEST_HEARTBEAT_S = 3000.0
"""ZeroMQ tells the other side about twice as long, in tenths of a second and 16 bits."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The only four, in seconds.

    Attributes:
        connect_s: Until somebody answers at the address.
        request_s: From sending a request until its answer is complete.
        heartbeat_s: Silence after which a connection is probed; as long again without an answer, and it is dead.
        idle_s: Time without a request after which a server ends a stream, and as long again after which it drops the
            connection. Both come back with the next request. Over ZeroMQ a connection lives as long as its heartbeat.
    """

    connect_s: float = 5.0
    request_s: float = 30.0
    heartbeat_s: float = 10.0
    idle_s: float = 600.0

    def __post_init__(self) -> None:
        most_s = {"heartbeat_s": LONGEST_HEARTBEAT_S}
        for name in ("connect_s", "request_s", "heartbeat_s", "idle_s"):
            if not 0 < getattr(self, name) <= most_s.get(name, LONGEST_S):
                raise ConfigError(f"{name}={getattr(self, name):g} is no time to wait; give seconds, more than none.")


class Transport(Protocol):
    """The client's end, for any number of threads. Connected by the first request, and again after an error."""

    @property
    def address(self) -> Address:
        """Of the server."""

    def request(self, message: Message, timeout_s: float) -> Message:
        """Send and wait for the answer. The transport is good for the next request after any of these errors.

        Raises:
            Unreachable: Nobody answers there, or the peer went away and did not come back in time.
            DeadlineExceeded: No answer in time.
            Refused: The server answered with an error.
            DecodeError: What came back is no message of ours.
        """

    def submit(self, message: Message, timeout_s: float) -> Future[Message]:
        """Send, while others are under way; the future has the answer, or the error that `request` would raise."""

    def close(self) -> None:
        """Give up the connection, at once. What is under way fails."""


class Line(Protocol):
    """What a transport implements and `cutlayer.wire.retry` makes a `Transport` of: one attempt at a request."""

    def request(self, message: Message, timeout_s: float) -> Message:
        """See `Transport.request`. Called by several threads at a time.

        Raises:
            ConnectionLost: The peer went away while it had the request; it may be worth asking again.
            Unreachable: Nobody answers there.
        """

    def close(self) -> None:
        """See `Transport.close`."""


class Caller(Protocol):
    """Whoever waits for the answer to one request, as its transport knows him. Used by any thread."""

    @property
    def client(self) -> Hashable:
        """The same for all requests of a connection: clients take turns."""

    def gone(self) -> bool:
        """Whether nobody waits any more, so that the request need not be worked on."""

    def answer(self, reply: Message | Refused, sent: Callable[[], None]) -> None:
        """Send the answer; called once, and never waits for the network.

        Args:
            reply: The answer, or why there is none.
            sent: To be called once the answer has left, or cannot leave. Its time is nobody's latency.
        """


class Handler(Protocol):
    """What a server does with a request; `cloud.service.Service` is one."""

    @property
    def ready(self) -> bool:
        """Whether requests are taken at present."""

    def submit(self, request: Message, arrived_ns: int, caller: Caller, *, lend: bool = False) -> None:
        """Take a request, whose answer goes to the caller, perhaps by another thread, perhaps before this returns.

        Called by several threads at a time; raises nothing.

        Args:
            request: What arrived.
            arrived_ns: `time.monotonic_ns` when it had arrived.
            caller: Gets exactly one answer; one who is gone is told so, for whoever counts.
            lend: Whether the calling thread may compute, as one that would only wait for the answer does: a hop to
                another thread is saved. Otherwise this returns at once.
        """


class Server(Protocol):
    """The server's end, listening since it was made."""

    @property
    def address(self) -> Address:
        """Where it really listens: never port 0."""

    def close(self, grace_s: float = 5.0) -> None:
        """Take no new requests, answer those that have arrived, at most for so long, then stop. May be called twice."""


def refusal(error: Exception) -> Refused:
    """What to tell the client about an error. Only errors raised on purpose show their text."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, DecodeError):
        return Refused("INVALID_ARGUMENT", str(error))
    log.error("a request failed", exc_info=error)
    return Refused("INTERNAL", "The server failed on this request; its log says why.")
