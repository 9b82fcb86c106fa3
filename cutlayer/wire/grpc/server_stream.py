"""The server's end of one client's stream of requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import NamedTuple

import grpc

from cutlayer.errors import DecodeError, Refused
from cutlayer.wire.grpc.frames import RAW_INPUT_CONTENTS, stream_answer
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.protobuf import split_and_name
from cutlayer.wire.transport import Handler, refusal

MAX_UNANSWERED = 16
"""Requests of one stream that are read ahead of their answers; the rest waits in the network."""


class _Arrived(NamedTuple):
    data: bytes
    at_ns: int


class _Answered(NamedTuple):
    data: bytes
    sent: Callable[[], None]


class Stream:
    """One client's stream. The thread that gRPC gives it submits and writes; a second one asks gRPC for more to read.

    Args:
        handler: Gets the requests.
        idle_s: Time without a request after which the stream ends: it holds a thread.
    """

    def __init__(self, handler: Handler, idle_s: float) -> None:
        self._handler, self._idle_s = handler, idle_s
        # What is to be done, in order. None: there will be no more requests, or nobody to answer.
        self._work: SimpleQueue[_Arrived | _Answered | None] = SimpleQueue()
        # An entry for each request that may be read: a semaphore, but not one in Python, for the thread that reads
        # wakes with the same message as the one that computes, and holds the interpreter until it waits again.
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(MAX_UNANSWERED):
            self._room.put(None)
        self._lock = threading.Lock()
        self._over = False

    def arrived(self, data: bytes) -> bool:
        """GRPC's deserializer, called by gRPC's own thread as soon as a message is there: the time to stamp it."""
        self._work.put(_Arrived(data, time.monotonic_ns()))
        return True

    def drain(self) -> None:
        """Read no more, answer what has been read, and end the stream."""
        self._work.put(None)

    def serve(self, requests: Iterator[bool], context: grpc.ServicerContext) -> Iterator[bytes]:
        """The answers, in the order in which they are ready."""
        if not context.add_callback(self._gone):
            return
        threading.Thread(target=self._read, args=(requests,), name="grpc-stream", daemon=True).start()
        client, unanswered, ended = context.peer(), 0, False
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
                    # A client that waits for each answer saves a hop to the thread that computes.
                    self._submit(client, work, lend=unanswered == 1 and self._work.empty())
                else:
                    leaving = work
                    yield work.data
                    # gRPC asks for the next answer once this one has been sent.
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

    def answer(self, answered: bytes, sent: Callable[[], None]) -> None:
        """Have an answer written; by any thread."""
        with self._lock:
            if not self._over:
                self._work.put(_Answered(answered, sent))
                return
        sent()

    @property
    def over(self) -> bool:
        """Whether nobody reads the answers any more."""
        return self._over

    def _submit(self, client: str, arrived: _Arrived, lend: bool) -> None:
        caller = _Caller(self, client)
        try:
            header, tensors, caller.request_id = split_and_name(arrived.data, RAW_INPUT_CONTENTS)
        except DecodeError as error:
            caller.answer(refusal(error), lambda: None)
            return
        self._handler.submit(Message(Kind.INFER, header, tensors), arrived.at_ns, caller, lend=lend)

    def _read(self, requests: Iterator[bool]) -> None:
        try:
            while True:
                self._room.get()
                if self._over:
                    return
                next(requests)
        except Exception:
            # StopIteration: the client has no more to ask. Anything else: the client is gone, which `_gone` knows.
            self._work.put(None)

    def _gone(self) -> None:
        with self._lock:
            self._over = True
        self._work.put(None)
        self._room.put(None)


class _Caller:
    """Whoever waits for the answer to one request of a stream; see `Caller`."""

    def __init__(self, stream: Stream, client: str) -> None:
        self.client, self.request_id = client, ""
        self._stream = stream

    def gone(self) -> bool:
        return self._stream.over

    def answer(self, reply: Message | Refused, sent: Callable[[], None]) -> None:
        self._stream.answer(stream_answer(reply, self.request_id), sent)
