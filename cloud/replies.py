"""The last answers of each session, so that a repeated request is answered without a second computation.

A request is recognized by its owner, which is more than the name of its session (`cutlayer.cloud.job.owner`), and its
id. Its header must be equal too, because an id belongs to one request. The tensor is not compared, which would take as
long as the computation saves.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from sys import getsizeof
from typing import NamedTuple

from cutlayer.cloud.job import Job
from cutlayer.errors import Refused
from cutlayer.wire.message import Message
from cutlayer.wire.transport import Caller

MAX_SESSIONS = 1024
MAX_REPLIES = 256
"""Answers kept for one session: more than a client has requests in flight."""

MAX_CALLERS = 16
"""Callers that may wait for the answer to one request."""

MAX_BYTES = 64 << 20
"""Memory of all answers, Python's overhead included. The newest answer is kept whatever its size."""

ENTRY_BYTES = 192 + sum(map(getsizeof, ("", b"", b"", b"", (b"",), (None, None, None))))
"""Overhead of an answer with one tensor: its objects, its table entries, and rounding."""

_Key = tuple[str, str]
"""Owner and id."""


class _Answer(NamedTuple):
    header: bytes
    reply: Message
    nbytes: int


class Replies:
    """The requests in progress, and the last answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[_Key, Job] = {}
        self._sessions: OrderedDict[str, OrderedDict[str, _Answer]] = OrderedDict()
        self.nbytes = 0

    def first(self, job: Job) -> Message | bool:
        """Return True for a new request, the answer of an answered one, or False if one in progress will answer it.

        Raises:
            Refused: The session has used this id for another request, or too many callers wait for this one.
        """
        key = job.key
        if key is None:
            return True
        with self._lock:
            pending = self._pending.get(key)
            if pending is not None:
                _check_header(pending.request.header, job)
                if len(pending.callers) == MAX_CALLERS:
                    raise Refused("RESOURCE_EXHAUSTED", f"The request {job.id:.40} is in progress; retry later.", 100)
                pending.callers += job.callers
                return False
            remembered = self._sessions[key[0]].get(key[1]) if key[0] in self._sessions else None
            if remembered is not None:
                _check_header(remembered.header, job)
                return remembered.reply
            self._pending[key] = job
            return True

    def abandoned(self, job: Job) -> bool:
        """Return whether all callers have left; if so, forget the request."""
        if len(job.callers) == 1 and not job.callers[0][0].gone():
            return False
        with self._lock:
            if not all(caller.gone() for caller, _ in job.callers):
                return False
            self._forget(job)
            return True

    def finish(self, job: Job, reply: Message | None) -> list[tuple[Caller, int]]:
        """Keep the answer, or forget the request if it is None; return the waiting callers."""
        with self._lock:
            self._forget(job)
            key = job.key
            if key is not None and reply is not None:
                self._remember(key, job.request.header, reply)
            return job.callers

    def _forget(self, job: Job) -> None:
        key = job.key
        if key is not None and self._pending.get(key) is job:
            del self._pending[key]

    def _remember(self, key: _Key, header: bytes, reply: Message) -> None:
        owner, request_id = key
        replies = self._sessions.setdefault(owner, OrderedDict())
        self._sessions.move_to_end(owner)
        nbytes = len(request_id) + len(header) + reply.nbytes + ENTRY_BYTES
        replies[request_id] = _Answer(header, reply, nbytes)
        self.nbytes += nbytes
        if len(replies) > MAX_REPLIES:
            self._drop(replies)
        if len(self._sessions) > MAX_SESSIONS:
            self.nbytes -= sum(answer.nbytes for answer in self._sessions.popitem(last=False)[1].values())
        while self.nbytes > MAX_BYTES:
            # Drop answers of the session that has been silent longest, which may be over.
            name, silent = next(iter(self._sessions.items()))
            if silent is replies and len(replies) == 1:
                break
            self._drop(silent)
            if not silent:
                del self._sessions[name]

    def _drop(self, replies: OrderedDict[str, _Answer]) -> None:
        self.nbytes -= replies.popitem(last=False)[1].nbytes


def _check_header(header: bytes, job: Job) -> None:
    if header != job.request.header:
        raise Refused(
            "INVALID_ARGUMENT",
            f"The session has used the id {job.id!r:.40} for another request; give each request its own id.",
        )
