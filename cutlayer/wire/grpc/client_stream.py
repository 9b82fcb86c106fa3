"""The client's end of a stream of requests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import grpc

from cutlayer.errors import DecodeError, WireError
from cutlayer.wire.grpc.frames import STREAM, read_stream_answer
from cutlayer.wire.message import Message

Answer = SimpleQueue[Message | WireError]


class ClientStream:
    """One call of ModelStreamInfer, with any number of requests under way; the answers come in any order."""

    def __init__(
        self, channel: grpc.Channel, token: list[tuple[str, str]] | None, error_of: Callable[[Any], WireError]
    ) -> None:
        self._error_of = error_of
        self._lock = threading.Lock()
        self._answers: dict[str, Answer] = {}
        self.over = False
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        # As a deserializer, `_arrived` is called by gRPC's own thread when a message is there: no further thread has
        # to wake up before the one that waits for the answer.
        stream = channel.stream_stream(STREAM, response_deserializer=self._arrived)
        self._call = stream(iter(self._requests.get, None), metadata=token)
        threading.Thread(target=self._read, name="grpc-stream", daemon=True).start()

    def send(self, request_id: str, data: bytes) -> Answer | None:
        """Where the answer will be put; None when the stream is over.

        Raises:
            WireError: A request of this id is under way.
        """
        answer: Answer = SimpleQueue()
        with self._lock:
            if self.over:
                return None
            if request_id in self._answers:
                raise WireError(f"A request of the id {request_id!r:.40} is under way; each needs an id of its own.")
            self._answers[request_id] = answer
        self._requests.put(data)
        return answer

    def forget(self, request_id: str) -> None:
        """Nobody waits for this answer any more."""
        with self._lock:
            self._answers.pop(request_id, None)

    def close(self) -> None:
        """Give up, at once."""
        self._call.cancel()

    def _arrived(self, data: bytes) -> bool:
        try:
            request_id, given = read_stream_answer(data)
        except DecodeError as error:
            self._end(error)
            self._call.cancel()
            return True
        with self._lock:
            answer = self._answers.pop(request_id, None)
        # A late answer is nobody's any more.
        if answer is not None:
            answer.put(given)
        return True

    def _read(self) -> None:
        """Ask gRPC for the next message, again and again, until the stream is over."""
        try:
            for _ in self._call:
                pass
        except grpc.RpcError:
            pass
        self._end(self._error_of(self._call))
        self._requests.put(None)

    def _end(self, error: WireError) -> None:
        with self._lock:
            self.over = True
            waiting, self._answers = list(self._answers.values()), {}
        for answer in waiting:
            answer.put(error)
