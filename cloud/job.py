"""One request on its way through the server, and whose it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from numpy.typing import NDArray

from cutlayer.cloud.lines import Line
from cutlayer.wire.codecs.base import Buffer, Encoded, Parameter
from cutlayer.wire.message import Message
from cutlayer.wire.transport import Caller

OVERHEAD_BYTES = 1024
"""Memory of a request in addition to its own bytes, so that a budget in bytes limits small requests too."""

MAX_SESSION = 128
"""Longest name of a session, in characters, whose repeated requests are recognized."""

SECRET_LENGTHS = range(16, 129)
"""Lengths of a session's secret, in characters; another one counts as none."""

OWNER_LENGTH = 32
"""Hexadecimal digits of an owner's hash."""


class Template(NamedTuple):
    """What all requests of a session share.

    Attributes:
        tensor: Description of the smashed data, without bytes.
        n_samples: Number of samples by the header, not yet checked against the bytes.
        decode: For each tensor, a function from the bytes to the array. Raises DecodeError.
        reply: The answer without id, bytes and durations; None where its header depends on the data.
        session: Name of the session, if the client gives one.
        secret: Secret of the session, if the client gives one.
        more_bytes: Memory that the request takes beside the bytes that arrive: decoded tensors and the answer.
        defense: The defense that the client states, if it states one.
    """

    tensor: Encoded
    n_samples: int
    decode: tuple[Callable[[Buffer], NDArray[Any]], ...]
    reply: Message | None
    session: Parameter | None
    secret: Parameter | None
    more_bytes: int = 0
    defense: Parameter | None = None


class Job:
    """A request that was read, and the callers that wait for its answer: several if it was sent again.

    It is computed in one batch, or in several slices.

    Attributes:
        request: The message that arrived.
        template: Template of its session's requests.
        id: Id of the request within its session.
        data: Bytes of its tensors, of the smashed data first.
        callers: Callers in order of arrival, each with its arrival time (`time.monotonic_ns`).
        read_ns: Time that reading the request took.
        n_samples: Number of samples; see `Template`.
        nbytes: Bytes that it takes of the server's budget.
        owner: Whose request it is; see `owner`.
        key: Owner and id, by which a repetition is recognized; None if the request has no `owner` or no id.
        line: The connection whose tail time it uses, once it is known.
        taken: Number of its samples that have been given to a batch.
        smashed: Its decoded tensors; None before they are decoded.
        answers: The outputs of its samples by name; those of samples that were not yet computed are undefined.
        decode_ns: Time that decoding took.
        tail_ns: Time of the tail so far, of all slices.
        over: Whether it was answered or refused.
    """

    __slots__ = (
        "answers", "callers", "data", "decode_ns", "id", "key", "line", "n_samples", "nbytes", "over", "owner",
        "read_ns", "request", "smashed", "tail_ns", "taken", "template",
    )  # fmt: skip

    line: Line

    def __init__(
        self, request: Message, template: Template, id: str, data: tuple[Buffer, ...], caller: Caller, arrived_ns: int,
        read_ns: int,
    ) -> None:  # fmt: skip
        self.request, self.template, self.id, self.data = request, template, id, data
        self.callers, self.read_ns = [(caller, arrived_ns)], read_ns
        self.n_samples = template.n_samples
        self.nbytes = len(request.header) + sum(map(len, data)) + template.more_bytes + OVERHEAD_BYTES
        self.owner = owner(caller.peer.identity, template.session, template.secret)
        self.key = (self.owner, id) if self.owner and id else None
        self.taken = self.decode_ns = self.tail_ns = 0
        self.smashed: NDArray[Any] | None = None
        self.answers: dict[str, NDArray[Any]] = {}
        self.over = False


def owner(identity: str, session: object, secret: object) -> str | None:
    """Return whose answers those of a session are, as a hash: nobody else can name it, and it tells no secret.

    The name of a session is no secret: whoever knows it must not get its answers, spoil its ids or block it. A session
    therefore belongs to the peer that has proven `identity`, and to those who know its secret. With neither there is
    no owner, and so no memory of its requests.
    """
    if not (isinstance(session, str) and 0 < len(session) <= MAX_SESSION):
        return None
    if not (isinstance(secret, str) and len(secret) in SECRET_LENGTHS):
        secret = ""
    if not (identity or secret):
        return None
    return _hash(identity, session, secret)


@lru_cache(maxsize=1024)
def _hash(identity: str, session: str, secret: str) -> str:
    # Kept, because hashing takes as long as all other steps of recognizing a repetition.
    return hashlib.sha256(repr((identity, session, secret)).encode()).hexdigest()[:OWNER_LENGTH]
