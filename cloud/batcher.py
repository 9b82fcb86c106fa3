"""The queue of waiting requests, and the thread that computes them in batches; `cutlayer.cloud.turns` says in which.

Waiting for a full batch costs a single client time. It gains nothing with many clients, whose requests arrive during
the computation of others. `Limits.max_delay_us` is for clients that do not wait for their answers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cutlayer.cloud.admission import Budget, Limits, busy, closing
from cutlayer.cloud.job import Job
from cutlayer.cloud.turns import Slice, Turns


class Batcher:
    """The waiting requests, and one computation at a time. Close it after use to end its thread.

    Args:
        compute: Computes the slices of a batch, and answers the requests that are then complete. One thread at a time
            calls it; it raises nothing.
        limits: Limits of batches and unanswered requests.

    Attributes:
        closed: Whether new requests are refused.
    """

    def __init__(self, compute: Callable[[list[Slice]], None], limits: Limits) -> None:
        self._compute, self._limits = compute, limits
        self._turns, self._budget = Turns(limits.max_batch), Budget(limits.max_bytes)
        self.closed = False
        self._one_by_one = True
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._computing = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of the unanswered requests, decoded, and of their answers."""
        return self._budget.nbytes

    def put(self, job: Job, lend: bool) -> None:
        """Take a request. See `cutlayer.wire.transport.Handler.submit` for `lend`.

        Raises:
            Refused: The server is full, or is closing.
        """
        with self._lock:
            if self.closed:
                raise closing()
            self._turns.meet(job, time.monotonic())
            if not self._budget.take(job.line.party, job.nbytes):
                raise busy(min(1000, 1 + int(1000 * self._turns.expected_s())))
            # If requests form batches, a thread that computes a single one would delay the others.
            lend = lend and self._one_by_one and not self._limits.max_delay_us
            batch = self._turns.undivided(job) if lend else []
            if not batch or not self._computing.acquire(False):
                job.taken = 0
                self._turns.put(job)
                self._wake()
                return
        try:
            self._run(batch)
        finally:
            self._computing.release()

    def end(self, job: Job) -> bool:
        """Stop counting a request that is about to be answered; return False if it has been answered already."""
        with self._lock:
            if job.over:
                return False
            job.over = True
            self._budget.give_back(job.line.party, job.nbytes)
            if job.taken < job.n_samples:
                self._turns.drop(job)
            return True

    def close(self, deadline_s: float) -> list[Job]:
        """Refuse new requests and compute the queued ones; return those left at the deadline, unanswered."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        give_up = time.monotonic() + deadline_s
        if self._thread is not None:
            self._thread.join(deadline_s)
        # A thread of a transport that computes holds the lock until its batch is answered.
        if self._computing.acquire(timeout=max(0.0, give_up - time.monotonic())):
            self._computing.release()
        with self._changed:
            return self._turns.clear()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._turns or self.closed)
                if not self._turns:
                    return
                if self._limits.max_delay_us:
                    self._changed.wait_for(
                        lambda: self._turns.n_samples >= self._limits.max_batch or self.closed,
                        self._limits.max_delay_us / 1e6,
                    )
            with self._computing:
                with self._lock:
                    batch = self._turns.take()
                self._run(batch)

    def _run(self, batch: list[Slice]) -> None:
        self._one_by_one = len(batch) <= 1
        start_s = time.monotonic()
        self._compute(batch)
        end_s = time.monotonic()
        with self._lock:
            self._turns.charge(batch, end_s - start_s, end_s)
