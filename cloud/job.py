"""One request on its way through the server."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from cutlayer.wire.codecs.base import Buffer, Encoded, Parameter
from cutlayer.wire.message import Message
from cutlayer.wire.transport import Caller

OVERHEAD_BYTES = 1024
"""What a request takes here beside its own bytes, so that a budget in bytes bounds small requests too."""

MAX_SESSION = 128
"""Longest name of a session, in characters, under which requests are known again."""


class Prepared(NamedTuple):
    """What is the same for all requests of a session.

    Attributes:
        tensor: The smashed data without its bytes.
        n_samples: As the header says; the bytes may turn out to be something else.
        decode: From the bytes to the smashed data. Raises DecodeError.
        reply: The answer without id, bytes and durations.
        session: As the client names it, if he does.
    """

    tensor: Encoded
    n_samples: int
    decode: Callable[[Buffer], NDArray[Any]]
    reply: Message
    session: Parameter | None


class Job:
    """A request that was read, and who waits for its answer: more than one, once it has been sent again.

    Attributes:
        request: As it arrived.
        prepared: What it has in common with others.
        id: Of the request, within its session.
        data: The bytes of its smashed data.
        callers: Who waits, and since when (`time.monotonic_ns`), the first one first.
        read_ns: How long it took to read.
        n_samples: See `Prepared`.
        nbytes: What it takes of the server's budget.
        key: What the request is known by when it is sent again; see `key`.
    """

    __slots__ = ("callers", "data", "id", "key", "n_samples", "nbytes", "prepared", "read_ns", "request")

    def __init__(
        self, request: Message, prepared: Prepared, id: str, data: Buffer, caller: Caller, arrived_ns: int, read_ns: int
    ) -> None:
        self.request, self.prepared, self.id, self.data = request, prepared, id, data
        self.callers, self.read_ns = [(caller, arrived_ns)], read_ns
        self.n_samples = prepared.n_samples
        self.nbytes = len(request.header) + len(data) + OVERHEAD_BYTES
        self.key = key(prepared.session, id)

    @property
    def client(self) -> Hashable:
        """Whose turn it takes."""
        return self.callers[0][0].client


def key(session: object, request_id: str) -> tuple[str, str] | None:
    """What a request is known by; None for clients that name no session, whose ids may be anybody's."""
    if isinstance(session, str) and 0 < len(session) <= MAX_SESSION and request_id:
        return session, request_id
    return None
