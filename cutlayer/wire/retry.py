"""The retry policy of every transport: when and for how long an error is retried; `outcomes` says which.

A retry is safe: requests are idempotent by session and request id, and a server repeats an answer from its memory. A
request without an answer is not retried before its deadline: on a slow link a second copy of the tensor would make it
slower, and the heartbeat detects a dead connection.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from cutlayer.errors import DeadlineExceeded, Refused, Unreachable, WireError
from cutlayer.wire.address import Address
from cutlayer.wire.message import Message
from cutlayer.wire.outcomes import outcome

MAX_IN_FLIGHT = 16
"""Concurrent requests of one client; further ones wait, and their deadlines run meanwhile."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential back-off with jitter, so that clients that failed together do not retry together.

    Attributes:
        attempts: Number of attempts, the first included.
        first_s: Longest pause before the second attempt, in seconds; it doubles with each further attempt.
        most_s: Limit of each pause in seconds, unless the server asks for a longer one.
        jitter: Share of a pause that is drawn at random, 0 to 1.
    """

    attempts: int = 8
    first_s: float = 0.05
    most_s: float = 2.0
    jitter: float = 1.0

    def pause_s(self, failures: int, error: WireError) -> float | None:
        """Return the pause after this many failures, in seconds; None if `error`, the last one, is final."""
        server_ms = error.retry_after_ms if isinstance(error, Refused) else 0
        if not outcome(error).again or failures >= self.attempts:
            return None
        longest = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 60))
        return server_ms / 1000 + longest * (1 - self.jitter * random.random())


def retried(
    attempt: Callable[[float], Message],
    retry: Retry,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Message:
    """Repeat a request until it is answered, its error is final, or the time is over.

    Args:
        attempt: Makes one attempt in the given number of seconds, and returns the answer.
        retry: The retry policy.
        timeout_s: Time limit of all attempts together, in seconds.
        clock: Monotonic clock, in seconds.
        sleep: Waits for the given number of seconds.

    Raises:
        WireError: The last error, if it is final or the next pause would end after the deadline.
    """
    deadline = clock() + timeout_s
    left_s = timeout_s
    for failures in itertools.count(1):
        try:
            return attempt(left_s)
        except WireError as error:
            pause_s = retry.pause_s(failures, error)
            if pause_s is None or clock() + pause_s >= deadline:
                raise
        sleep(pause_s)
        left_s = deadline - clock()
    raise AssertionError("There is always a next number.")


class Line(Protocol):
    """What a transport implements, and `Client` makes a `Transport` of: single attempts at requests."""

    def request(self, message: Message, timeout_s: float) -> Message:
        """See `Transport.request`. Several threads may call it at a time.

        Raises:
            ConnectionLost: The connection was lost after the request was sent; a retry may help.
            Unreachable: No server answers at the address.
        """

    def close(self) -> None:
        """See `Transport.close`."""


class Client:
    """The `Transport` that `connect` returns: it retries requests, and makes many at a time."""

    def __init__(self, line: Line, address: Address, retry: Retry) -> None:
        self.address = address
        self._line, self._retry = line, retry
        # The pool starts a thread only when a request needs one.
        self._pool = ThreadPoolExecutor(MAX_IN_FLIGHT, thread_name_prefix="wire-client")
        self._closed = threading.Event()

    def request(self, message: Message, timeout_s: float) -> Message:
        """See `Transport.request`."""
        return retried(lambda left_s: self._attempt(message, left_s), self._retry, timeout_s, sleep=self._closed.wait)

    def submit(self, message: Message, timeout_s: float) -> Future[Message]:
        """See `Transport.submit`."""
        deadline = time.monotonic() + timeout_s

        def request() -> Message:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise DeadlineExceeded(f"The request was not sent to {self.address} within {timeout_s:g} s.")
            return self.request(message, left_s)

        try:
            return self._pool.submit(request)
        except RuntimeError:
            # The pool raises this once it is closed.
            failed: Future[Message] = Future()
            failed.set_exception(Unreachable.closed(self.address))
            return failed

    def close(self) -> None:
        """See `Transport.close`."""
        self._closed.set()
        self._line.close()
        # Requests that wait for a thread run now, and fail.
        self._pool.shutdown()

    def _attempt(self, message: Message, left_s: float) -> Message:
        if self._closed.is_set():
            raise Unreachable.closed(self.address)
        return self._line.request(message, left_s)
