"""The queue of waiting requests. A batch takes those that fit, from all clients in turn, and waits for no more.

Waiting for a full batch costs a single client time. It gains nothing with many clients, whose requests arrive during
the computation of others. `Limits.max_delay_us` is for clients that do not wait for their answers.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from cutlayer.cloud.admission import Limits, busy, closing
from cutlayer.cloud.job import Job


class Batcher:
    """A queue for each client, and one computation at a time. Close it after use to end its thread.

    Args:
        compute: Answers the jobs of a batch. One thread at a time calls it; it raises nothing.
        limits: Limits of batches and unanswered requests.

    Attributes:
        in_flight_bytes: Bytes of the unanswered requests.
        closed: Whether new requests are refused.
    """

    def __init__(self, compute: Callable[[list[Job]], None], limits: Limits) -> None:
        self._compute, self._limits = compute, limits
        self._queues: OrderedDict[object, deque[Job]] = OrderedDict()
        self._queued_samples = 0
        self.in_flight_bytes = 0
        self.closed = False
        self._batch_s = 0.0
        self._one_by_one = True
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._computing = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, job: Job, lend: bool) -> None:
        """Take a request. See `cutlayer.wire.transport.Handler.submit` for `lend`.

        Raises:
            Refused: The server is full, or is closing.
        """
        with self._lock:
            if self.closed:
                raise closing()
            if self.in_flight_bytes and self.in_flight_bytes + job.nbytes > self._limits.max_bytes:
                raise busy(self._retry_after_ms())
            self.in_flight_bytes += job.nbytes
            # If requests form batches, a thread that computes a single one would delay the others.
            lend = lend and self._one_by_one and not self._queues and not self._limits.max_delay_us
            if not lend or not self._computing.acquire(False):
                self._queues.setdefault(job.client, deque()).append(job)
                self._queued_samples += job.n_samples
                self._wake()
                return
        try:
            self._run([job])
        finally:
            self._computing.release()

    def release(self, job: Job) -> None:
        """Stop counting the bytes of a request that is about to be answered."""
        with self._lock:
            self.in_flight_bytes -= job.nbytes

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
            left = [job for queue in self._queues.values() for job in queue]
            self._queues.clear()
        return left

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queues or self.closed)
                if not self._queues:
                    return
                if self._limits.max_delay_us:
                    self._changed.wait_for(
                        lambda: self._queued_samples >= self._limits.max_batch or self.closed,
                        self._limits.max_delay_us / 1e6,
                    )
            with self._computing:
                self._run(self._take())

    def _take(self) -> list[Job]:
        """Return the next batch: one request of each client in turn, until the next one does not fit."""
        jobs: list[Job] = []
        room = self._limits.max_batch
        with self._changed:
            while self._queues:
                client, queue = next(iter(self._queues.items()))
                if jobs and queue[0].n_samples > room:
                    break
                jobs.append(queue.popleft())
                room -= jobs[-1].n_samples
                self._queued_samples -= jobs[-1].n_samples
                if queue:
                    self._queues.move_to_end(client)
                else:
                    del self._queues[client]
        return jobs

    def _run(self, jobs: list[Job]) -> None:
        self._one_by_one = len(jobs) <= 1
        start = time.monotonic()
        self._compute(jobs)
        self._batch_s = time.monotonic() - start

    def _retry_after_ms(self) -> int:
        """Return the expected time until the queued requests are computed, in milliseconds."""
        batches = 1 + self._queued_samples / self._limits.max_batch
        return min(1000, 1 + int(batches * self._batch_s * 1000))
