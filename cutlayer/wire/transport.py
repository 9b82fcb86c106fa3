"""The interfaces of a transport: a request out, an answer back, within a deadline."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cutlayer.errors import ConfigError, DecodeError, Refused
from cutlayer.wire.address import Address
from cutlayer.wire.message import Message
from cutlayer.wire.peer import Peer

log = logging.getLogger("cutlayer.wire")

LONGEST_S = 1e6
LONGEST_HEARTBEAT_S = 3000.0
"""ZeroMQ sends twice this time to the peer, in tenths of a second with 16 bits."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The time limits of a connection, in seconds.

    Attributes:
        connect_s: Longest wait for a server at the address.
        request_s: Longest time from a request to its complete answer, retries included.
        heartbeat_s: Silence after which a side probes the connection; after twice this silence the connection is dead.
        idle_s: Time without a request after which a server ends a stream; after twice this time it drops the
            connection. The next request opens both again. Over gRPC only.
    """

    connect_s: float = 5.0
    request_s: float = 30.0
    heartbeat_s: float = 10.0
    idle_s: float = 600.0

    def __post_init__(self) -> None:
        for name in ("connect_s", "request_s", "heartbeat_s", "idle_s"):
            seconds, most_s = getattr(self, name), LONGEST_HEARTBEAT_S if name == "heartbeat_s" else LONGEST_S
            if not 0 < seconds <= most_s:
                raise ConfigError(
                    f"{name} must be a number of seconds above 0 and at most {most_s:,.0f}; {seconds:g} was given."
                )


class Transport(Protocol):
    """The client's end, for any number of threads. It connects with the first request, and again after an error."""

    @property
    def address(self) -> Address:
        """Address of the server."""

    def request(self, message: Message, timeout_s: float) -> Message:
        """Send a request and wait for the answer. After any of these errors the next request can be made.

        Raises:
            Unreachable: No server answers there, or the connection was lost and not restored in time.
            DeadlineExceeded: No answer arrived in time.
            Refused: The server answered with an error.
            DecodeError: The answer is not a message of this protocol.
        """

    def submit(self, message: Message, timeout_s: float) -> Future[Message]:
        """Send a request without waiting; the future holds the answer, or the error that `request` would raise."""

    def close(self) -> None:
        """Close the connection at once. Unanswered requests fail."""


class Caller(NamedTuple):
    """The client of one request, as a server's handler sees it. Any thread may use it.

    Attributes:
        peer: Who the request came from; clients take turns by its `connection`.
        gone: Returns whether the client has left, so that the request need not be computed.
        answer: Sends the answer or the reason why there is none, without waiting for the network; call it once. Its
            second argument is called after the answer has left, or cannot leave; that time is not part of the latency.
    """

    peer: Peer
    gone: Callable[[], bool]
    answer: Callable[[Message | Refused, Callable[[], None]], None]


def nothing() -> None:
    """Do nothing after an answer has left."""


class Handler(Protocol):
    """What a server does with a request; `cutlayer.cloud.service.Service` is one."""

    @property
    def ready(self) -> bool:
        """Whether the server takes requests."""

    def submit(self, request: Message, arrived_ns: int, caller: Caller, *, lend: bool = False) -> None:
        """Take a request. Its answer goes to the caller from any thread, perhaps before this returns.

        Several threads may call it at a time. It raises nothing.

        Args:
            request: The message that arrived.
            arrived_ns: Value of `time.monotonic_ns` at its arrival.
            caller: Receives exactly one answer, even if it has left.
            lend: Whether the calling thread may compute the answer, which saves a thread switch. Otherwise this
                returns at once.
        """


class Server(Protocol):
    """The server's end, which listens from its creation."""

    @property
    def address(self) -> Address:
        """Address with the actual port, never 0."""

    def close(self, grace_s: float = 5.0) -> None:
        """Refuse new requests, answer those that have arrived within `grace_s`, and stop. It may be called twice."""


def refusal(error: Exception) -> Refused:
    """Return the refusal that a client receives for an error. Only errors raised on purpose show their text."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, DecodeError):
        return Refused("INVALID_ARGUMENT", str(error))
    log.error("a request failed", exc_info=error)
    return Refused("INTERNAL", "The server failed on this request; see its log for the reason.")
