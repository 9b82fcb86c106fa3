"""The server's end of one client's stream of requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple

import grpc

from cutlayer.errors import DecodeError, Refused
from cutlayer.wire.grpc.frames import RAW_INPUT_CONTENTS, stream_answer
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.peer import Peer
from cutlayer.wire.protobuf import split
from cutlayer.wire.transport import Caller, Handler, nothing, refusal
from cutlayer.wire.visitors import Visitors
from cutlayer.wire.watch import Watch

MAX_UNANSWERED = 16
"""Unanswered requests of one stream that are read; further ones wait in the network."""


class _Arrived(NamedTuple):
    data: bytes
    at_ns: int


class _Answered(NamedTuple):
    data: bytes
    sent: Callable[[], None]


class Stream:
    """One client's stream. The thread that gRPC assigns to it submits and writes; a second one makes gRPC read on.

    Args:
        handler: Handler of the requests.
        idle_s: Seconds without a request after which the stream ends and frees its thread.
        visitors: The log of the server.
        watch: What limits its connections.
    """

    def __init__(self, handler: Handler, idle_s: float, visitors: Visitors, watch: Watch) -> None:
        self._handler, self._idle_s, self._visitors, self._watch = handler, idle_s, visitors, watch
        # Arrived requests and ready answers in order; None if no more requests will come or the client has left.
        self._work: SimpleQueue[_Arrived | _Answered | None] = SimpleQueue()
        # One entry for each request that may be read. It serves as a semaphore in C: one in Python would hold the
        # interpreter lock at the moment when the same message wakes the thread that computes.
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(MAX_UNANSWERED):
            self._room.put(None)
        self._lock = threading.Lock()
        self._over = False
        self._peer = Peer(None)

    def arrived(self, data: bytes) -> bool:
        """Stamp and queue a message. It is a deserializer, which gRPC's own thread calls at once on arrival."""
        self._work.put(_Arrived(data, time.monotonic_ns()))
        self._watch.arrived(self._peer.name, len(data))
        return True

    def drain(self) -> None:
        """Stop reading, answer the requests that were read, and end the stream."""
        self._work.put(None)

    def serve(self, requests: Iterator[bool], peer: Peer, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Yield the answers in the order in which they are ready."""
        self._peer = peer
        if not context.add_callback(self._gone):
            return
        threading.Thread(target=self._read, args=(requests,), name="grpc-stream", daemon=True).start()
        unanswered, ended = 0, False
        leaving: _Answered | None = None
        try:
            while not (ended and not unanswered) and not self._over:
                try:
                    work = self._work.get(timeout=self._idle_s)
                except Empty:
                    ended = ended or not unanswered
                    continue
                if work is None:
                    ended = True
                elif isinstance(work, _Arrived):
                    unanswered += 1
                    # If the client waits for each answer, this thread computes it, which saves a thread switch.
                    self._submit(work, lend=unanswered == 1 and self._work.empty())
                else:
                    leaving = work
                    yield work.data
                    # gRPC asks for the next answer after it has sent this one.
                    leaving = None
                    work.sent()
                    unanswered -= 1
                    self._room.put(None)
        finally:
            self._gone()
            if leaving is not None:
                leaving.sent()
            while not self._work.empty():
                if isinstance(work := self._work.get(), _Answered):
                    work.sent()

    def _answer(self, request_id: str, reply: Message | Refused, sent: Callable[[], None]) -> None:
        """Queue an answer to be written. Any thread may call it."""
        answered = _Answered(stream_answer(reply, request_id), sent)
        with self._lock:
            if not self._over:
                self._work.put(answered)
                return
        sent()

    def _submit(self, arrived: _Arrived, lend: bool) -> None:
        try:
            header, tensors, request_id = split(arrived.data, RAW_INPUT_CONTENTS)
        except DecodeError as error:
            refused = refusal(error)
            self._visitors.refused(self._peer.name, refused.code, str(refused))
            self._answer("", refused, nothing)
            return
        caller = Caller(self._peer, lambda: self._over, partial(self._answer, request_id))
        self._handler.submit(Message(Kind.INFER, header, tensors), arrived.at_ns, caller, lend=lend)

    def _read(self, requests: Iterator[bool]) -> None:
        try:
            while True:
                if self._room.empty():
                    # What arrives now is not read, so its messages do not get finished.
                    with self._watch.unread(self._peer.name):
                        self._room.get()
                else:
                    self._room.get()
                if self._over:
                    return
                next(requests)
        except Exception:
            # StopIteration means that the client has ended its requests. For any other error `_gone` has run.
            self._work.put(None)

    def _gone(self) -> None:
        with self._lock:
            self._over = True
        self._work.put(None)
        self._room.put(None)
