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
    """One call of ModelStreamInfer with any number of unanswered requests. Answers arrive in any order."""

    def __init__(
        self, channel: grpc.Channel, token: list[tuple[str, str]] | None, error_of: Callable[[Any], WireError]
    ) -> None:
        self._error_of = error_of
        self._lock = threading.Lock()
        self._answers: dict[str, Answer] = {}
        self.over = False
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        # gRPC's own thread calls the deserializer as soon as a message arrives, so `_arrived` wakes the thread that
        # waits for the answer without a third thread in between.
        stream = channel.stream_stream(STREAM, response_deserializer=self._arrived)
        self._call = stream(iter(self._requests.get, None), metadata=token)
        threading.Thread(target=self._read, name="grpc-stream", daemon=True).start()

    def send(self, request_id: str, data: bytes) -> Answer | None:
        """Send a request and return the queue that will hold its answer; None if the stream has ended.

        Raises:
            WireError: Another request with this id is unanswered.
        """
        answer: Answer = SimpleQueue()
        with self._lock:
            if self.over:
                return None
            if request_id in self._answers:
                raise WireError(
                    f"A request with the id {request_id!r:.40} is unanswered; give each request its own id."
                )
            self._answers[request_id] = answer
        self._requests.put(data)
        return answer

    def forget(self, request_id: str) -> None:
        """Drop the answer to this request when it arrives."""
        with self._lock:
            self._answers.pop(request_id, None)

    def close(self) -> None:
        """Cancel the call at once."""
        self._call.cancel()

    def _arrived(self, data: bytes) -> bool:
        try:
            request_id, reply = read_stream_answer(data)
        except DecodeError as error:
            self._end(error)
            self._call.cancel()
            return True
        with self._lock:
            answer = self._answers.pop(request_id, None)
        # The answer to a forgotten request is dropped.
        if answer is not None:
            answer.put(reply)
        return True

    def _read(self) -> None:
        """Ask gRPC for messages until the stream ends."""
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
            answers, self._answers = list(self._answers.values()), {}
        for answer in answers:
            answer.put(error)
