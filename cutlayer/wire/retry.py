"""The one retry policy, for every transport: which errors are worth asking again, when, and for how long.

Asking again is safe: requests are idempotent by session and request id, and a server answers a request that it has
answered before from its memory. Silence is not asked again before the deadline: where the link is slow, a second copy
of a tensor would only make it slower, and a connection that died in silence is found by its heartbeat.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cutlayer.errors import ConnectionLost, DeadlineExceeded, Refused, Unreachable, WireError
from cutlayer.wire.address import Address
from cutlayer.wire.message import Message

if TYPE_CHECKING:
    from cutlayer.wire.transport import Line

MAX_IN_FLIGHT = 16
"""Requests of one client that may be under way at a time; further ones wait, and their deadline runs."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential back-off, with jitter, so that clients that failed together do not come back together.

    Attributes:
        attempts: How often to ask, the first time included.
        first_s: The longest pause before the second attempt; it doubles with each further one.
        most_s: What no pause exceeds, unless the server asks for a longer one.
        jitter: The part of a pause that is drawn at random: 1 for anything from nothing to all of it, 0 for none.
    """

    attempts: int = 8
    first_s: float = 0.05
    most_s: float = 2.0
    jitter: float = 1.0

    def pause_s(self, failures: int, error: WireError) -> float | None:
        """How long to wait after so many failures, the last of which is `error`; None when that is final."""
        asked_ms = error.retry_after_ms if isinstance(error, Refused) else 0
        again = asked_ms or isinstance(error, ConnectionLost) or getattr(error, "code", "") == "UNAVAILABLE"
        if not again or failures >= self.attempts:
            return None
        longest = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 60))
        return asked_ms / 1000 + longest * (1 - self.jitter * random.random())


def retried(
    ask: Callable[[float], Message],
    retry: Retry,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Message:
    """Ask until there is an answer, the error is final, or the time is over.

    Args:
        ask: Given the seconds that are left, the answer.
        retry: The policy.
        timeout_s: Of all attempts together.
        clock: Monotonic, in seconds.
        sleep: Waits for so many seconds.

    Raises:
        WireError: The last one, where the pause before the next attempt would outlast the deadline.
    """
    deadline = clock() + timeout_s
    left_s = timeout_s
    for failures in itertools.count(1):
        try:
            return ask(left_s)
        except WireError as error:
            pause_s = retry.pause_s(failures, error)
            if pause_s is None or clock() + pause_s >= deadline:
                raise
        sleep(pause_s)
        left_s = deadline - clock()
    raise AssertionError("There is always a next number.")


class Client:
    """What `connect` gives: any line, asked again as the policy says, by many requests at a time. See `Transport`."""

    def __init__(self, line: Line, address: Address, retry: Retry) -> None:
        self.address = address
        self._line, self._retry = line, retry
        # Its threads start with the first request that needs one.
        self._pool = ThreadPoolExecutor(MAX_IN_FLIGHT, thread_name_prefix="wire-client")
        self._closed = threading.Event()

    def request(self, message: Message, timeout_s: float) -> Message:
        """See `Transport.request`."""
        return retried(lambda left_s: self._ask(message, left_s), self._retry, timeout_s, sleep=self._closed.wait)

    def submit(self, message: Message, timeout_s: float) -> Future[Message]:
        """See `Transport.submit`."""
        deadline = time.monotonic() + timeout_s

        def ask() -> Message:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise DeadlineExceeded(f"The request was not sent to {self.address} within {timeout_s:g} s.")
            return self.request(message, left_s)

        try:
            return self._pool.submit(ask)
        except RuntimeError:
            # What the pool says once it is closed.
            refused: Future[Message] = Future()
            refused.set_exception(self._closed_here())
            return refused

    def close(self) -> None:
        """See `Transport.close`."""
        self._closed.set()
        self._line.close()
        # Those that wait for their turn get it, and are told.
        self._pool.shutdown()

    def _ask(self, message: Message, left_s: float) -> Message:
        if self._closed.is_set():
            raise self._closed_here()
        return self._line.request(message, left_s)

    def _closed_here(self) -> Unreachable:
        return Unreachable(f"The connection to {self.address} was closed on this side.")
