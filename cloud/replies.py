"""The last answers of each session, so that a request which is sent again is answered, and never computed twice.

A request is known by its session and its id. The header must be the same too, for an id stands for one request; the
tensor is not compared, for that would cost as much as what is saved.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from sys import getsizeof
from typing import NamedTuple

from cloud.job import Job
from cutlayer.errors import Refused
from cutlayer.wire.message import Message
from cutlayer.wire.transport import Caller

MAX_SESSIONS = 1024
MAX_REPLIES = 256
"""Of a session; more than it has under way at a time."""

MAX_CALLERS = 16
"""That wait for the answer to one request."""

MAX_BYTES = 64 << 20
"""Of all answers remembered, with what Python takes to hold them. The newest is kept whatever its size."""

ENTRY_BYTES = 192 + sum(map(getsizeof, ("", b"", b"", b"", (b"",), (None, None, None))))
"""Of an answer with one tensor, beside its bytes: its objects, its places in tables, and what is rounded up."""

_Key = tuple[str, str]


class _Kept(NamedTuple):
    header: bytes
    reply: Message
    nbytes: int


class Replies:
    """What is being worked on, and what was answered last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[_Key, Job] = {}
        self._sessions: OrderedDict[str, OrderedDict[str, _Kept]] = OrderedDict()
        self.nbytes = 0

    def first(self, job: Job) -> Message | bool:
        """Whether this is the first time; else its answer, or False when the caller now waits for that of the first.

        Raises:
            Refused: The session has used this id for another request, or too many wait for this one.
        """
        key = job.key
        if key is None:
            return True
        with self._lock:
            pending = self._pending.get(key)
            if pending is not None:
                _same(pending.request.header, job)
                if len(pending.callers) == MAX_CALLERS:
                    raise Refused("RESOURCE_EXHAUSTED", f"The request {job.id:.40} is being worked on.", 100)
                pending.callers += job.callers
                return False
            remembered = self._sessions[key[0]].get(key[1]) if key[0] in self._sessions else None
            if remembered is not None:
                _same(remembered.header, job)
                return remembered.reply
            self._pending[key] = job
            return True

    def abandoned(self, job: Job) -> bool:
        """Whether nobody waits for the answer any more; then the request is forgotten."""
        if len(job.callers) == 1 and not job.callers[0][0].gone():
            return False
        with self._lock:
            if not all(caller.gone() for caller, _ in job.callers):
                return False
            self._forget(job)
            return True

    def finish(self, job: Job, reply: Message | None) -> list[tuple[Caller, int]]:
        """Remember the answer, or forget the request where there is none; who waits for it."""
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
        session, request_id = key
        replies = self._sessions.setdefault(session, OrderedDict())
        self._sessions.move_to_end(session)
        replies[request_id] = kept = _kept(request_id, header, reply)
        self.nbytes += kept.nbytes
        if len(replies) > MAX_REPLIES:
            self._drop(replies)
        if len(self._sessions) > MAX_SESSIONS:
            self.nbytes -= sum(kept.nbytes for kept in self._sessions.popitem(last=False)[1].values())
        while self.nbytes > MAX_BYTES:
            # Of the session that has been silent longest, which may be over.
            name, silent = next(iter(self._sessions.items()))
            if silent is replies and len(replies) == 1:
                break
            self._drop(silent)
            if not silent:
                del self._sessions[name]

    def _drop(self, replies: OrderedDict[str, _Kept]) -> None:
        self.nbytes -= replies.popitem(last=False)[1].nbytes


def _kept(request_id: str, header: bytes, reply: Message) -> _Kept:
    return _Kept(header, reply, len(request_id) + len(header) + reply.nbytes + ENTRY_BYTES)


def _same(header: bytes, job: Job) -> None:
    if header != job.request.header:
        raise Refused("INVALID_ARGUMENT", f"The session has used the id {job.id!r:.40} for another request.")
