"""From a request to its answer: check, decode, compute in a batch, and report the duration of each step."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.cloud.admission import Limits, closing, unrecorded
from cutlayer.cloud.answers import Answers
from cutlayer.cloud.batcher import Batcher
from cutlayer.cloud.job import Job
from cutlayer.cloud.metrics import Metrics
from cutlayer.cloud.query_log import QueryLog
from cutlayer.cloud.reader import Reader
from cutlayer.cloud.replies import Replies
from cutlayer.cloud.tap import Tap
from cutlayer.cloud.turns import Slice
from cutlayer.errors import DecodeError, Refused, SplitError, WriteError
from cutlayer.machine.footprint import allocated_bytes
from cutlayer.models.manifest import Manifest
from cutlayer.split_folder import Half
from cutlayer.tensors import chosen, parts
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.template import timed
from cutlayer.wire.training import CALLS
from cutlayer.wire.transport import Caller, nothing, refusal
from cutlayer.wire.visitors import Visitors


class Seen(NamedTuple):
    """An answered request, for whoever watches a server while it works.

    Attributes:
        session: Name of the session, as the client states it.
        id: Id of the request, as the client chose it.
        defense: The defense, as the client states it.
        smashed: ``(N, *smashed.shape)``, decoded.
        answers: The outputs by name, as they were replied.
        nbytes: Size of the request without the framing of the transport.
        durations: Wait, decoding, tail and reply in ns, as the reply states them.
    """

    session: object
    id: str
    defense: object
    smashed: NDArray[Any]
    answers: dict[str, NDArray[Any]]
    nbytes: int
    durations: tuple[int, int, int, int]


class Service:
    """A tail that answers requests of any transport. Drain it after use.

    Args:
        manifest: Manifest of the split.
        tail: Function from smashed data to logits.
        tap: Recorder of the requests, if there is one; the caller closes it.
        clock: Monotonic clock in nanoseconds, the same that stamps arrivals.
        limits: Limits of batches and unanswered requests.
        visitors: The log of who is refused; that of the transport, if there is one.
        answers: What is replied in place of the logits; the logits themselves if left out.
        queries: The log of what each client asks, if there is one.
        watch: Called with each answered request after its answer has left, perhaps by several threads; it does not
            wait for anything.
    """

    def __init__(
        self,
        manifest: Manifest,
        tail: Half,
        tap: Tap | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        limits: Limits | None = None,
        visitors: Visitors | None = None,
        answers: Answers | None = None,
        queries: QueryLog | None = None,
        watch: Callable[[Seen], None] | None = None,
    ) -> None:
        limits = limits or Limits()
        self._visitors = visitors or Visitors()
        self._tail, self._tap, self._clock, self._told = tail, tap, clock, answers
        self._queries, self._watch = queries, watch
        if manifest.ends is not None and manifest.ends.alone:
            limits = replace(limits, max_batch=1)
        self._answers = {name: (np.dtype(spec.dtype), spec.shape) for name, spec in manifest.answers.items()}
        if answers is not None:
            answers.check(tail, manifest)
        self._reader = Reader(manifest, limits.max_samples)
        self._replies = Replies()
        self._batcher = Batcher(self._compute_by_length if manifest.sequence else self._compute, limits)
        # The batch is assembled here; the tail may write to it. That of several tensors, or of sequences, is anew.
        anew = bool(manifest.beside) or manifest.sequence
        self._batch = None if anew else np.empty((limits.max_batch, *manifest.smashed.shape), np.float32)
        gauges: dict[str, Callable[[], float]] = {
            "in_flight_bytes": lambda: self._batcher.in_flight_bytes,
            "remembered_bytes": lambda: self._replies.nbytes,
            "ready": lambda: self.ready,
            "allocated_bytes": lambda: allocated_bytes() or 0,
            "python_blocks": sys.getallocatedblocks,
        }
        if tap is not None:
            gauges["tap_unwritten_bytes"] = lambda: tap.unwritten_bytes
            gauges["tap_lost_requests"] = lambda: tap.n_lost
        if queries is not None:
            gauges["flagged_clients"] = lambda: queries.flagged
        self.metrics = Metrics(gauges, self._visitors, answers.title if answers else "none")

    @property
    def ready(self) -> bool:
        """Whether requests are taken, which is so until `drain`."""
        return not self._batcher.closed

    def submit(self, request: Message, arrived_ns: int, caller: Caller, *, lend: bool = False) -> None:
        """See `cutlayer.wire.transport.Handler`."""
        try:
            if request.kind is Kind.METADATA:
                if not self.ready:
                    raise closing()
                caller.answer(self._reader.metadata(request), nothing)
            elif request.kind is Kind.INFER:
                self._take(request, arrived_ns, caller, lend)
            elif request.kind in CALLS:
                raise Refused("UNIMPLEMENTED", "This server answers inference and does not train; train with another.")
            else:
                raise DecodeError(f"A server does not answer messages of kind {request.kind.name}.")
        except Exception as error:
            self._refuse(caller, refusal(error))

    def drain(self, deadline_s: float = 5.0) -> None:
        """Refuse new requests and answer those that have arrived; refuse those left at the deadline."""
        for job in self._batcher.close(deadline_s):
            self._fail(job, closing())

    def _take(self, request: Message, arrived_ns: int, caller: Caller, lend: bool) -> None:
        started_ns = self._clock()
        template, request_id, data = self._reader.read(request)
        job = Job(request, template, request_id, data, caller, arrived_ns, self._clock() - started_ns)
        new_or_reply = self._replies.first(job)
        if isinstance(new_or_reply, Message):
            self.metrics.count("repeated_requests")
            caller.answer(self._repeated(new_or_reply, arrived_ns), nothing)
        elif new_or_reply:
            try:
                self._batcher.put(job, lend)
            except Refused as refused:
                for waiting, _ in self._replies.finish(job, None):
                    self._refuse(waiting, refused)

    def _compute_by_length(self, batch: list[Slice]) -> None:
        """Compute sequences of each length by themselves, so that none is padded."""
        by_length: dict[tuple[int, ...], list[Slice]] = {}
        for part in batch:
            by_length.setdefault(part.job.template.tensor.shape[1:], []).append(part)
        for alike in by_length.values():
            self._compute(alike)

    def _compute(self, batch: list[Slice]) -> None:
        started_ns = self._clock()
        ready: list[Slice] = []
        smashed: list[NDArray[Any]] = []
        for part in batch:
            job = part.job
            if job.over:
                continue
            if self._replies.abandoned(job):
                self._drop(job)
                continue
            try:
                if job.smashed is None:
                    job.smashed = self._reader.smashed(job)
                smashed.append(job.smashed[part.start : part.stop])
                ready.append(part)
            except Exception as error:
                self._fail(job, error)
        if not ready:
            return
        try:
            samples = smashed[0] if len(smashed) == 1 else self._assemble(smashed)
            decoded_ns = self._clock()
            if not len(samples):
                ready[0].job.decode_ns += decoded_ns - started_ns
                return
            output = self._tail(samples)
            computed_ns = self._clock()
            answers = self._checked(output, len(samples))
        except Exception as error:
            for job, _, _ in ready:
                if self._fail(job, error):
                    self._record(job)
            return
        end = 0
        for job, first, last in ready:
            start, end = end, end + last - first
            job.decode_ns += decoded_ns - started_ns
            job.tail_ns += computed_ns - decoded_ns
            if last - first == job.n_samples:
                job.answers = {name: array[start:end] for name, array in answers.items()}
            else:
                job.answers = job.answers or {
                    name: np.empty((job.n_samples, *array.shape[1:]), array.dtype) for name, array in answers.items()
                }
                for name, array in answers.items():
                    job.answers[name][first:last] = array[start:end]
            if last == job.n_samples:
                try:
                    self._answer(job, computed_ns)
                except Exception as error:
                    # The other requests of the batch, and the thread that computes them, must not suffer.
                    self._batcher.end(job)
                    self._refuse_all(job, refusal(error))
        self.metrics.batch(len(samples))

    def _checked(self, output: NDArray[Any], n: int) -> dict[str, NDArray[Any]]:
        """Return what a tail gave by name, little-endian and in the types of the manifest."""
        answers = parts(output, next(iter(self._answers)))
        for name, (dtype, shape) in self._answers.items():
            given = answers[name]
            fits = given.ndim == 1 + len(shape) and all(
                size in (-1, there) for size, there in zip((n, *shape), given.shape, strict=True)
            )
            if not fits:
                raise SplitError(f"The tail gave {name} of shape {given.shape} for {n} samples, not ({n}, *{shape}).")
            answers[name] = given.astype(dtype.newbyteorder("<"), copy=False)
        return answers

    def _assemble(self, smashed: list[NDArray[Any]]) -> NDArray[Any]:
        if self._batch is None:
            return np.concatenate(smashed)
        end = 0
        for array in smashed:
            start, end = end, end + len(array)
            self._batch[start:end] = array
        return self._batch[:end]

    def _answer(self, job: Job, computed_ns: int) -> None:
        if self._told is not None:
            job.answers = self._told(job.answers)
        # Copied, because a kept answer would otherwise keep the answers of its whole batch in memory.
        reply = self._reader.answer(job)
        if not self._batcher.end(job):
            return
        first, arrived_ns = job.callers[0]
        sent: Callable[[], None] = nothing
        if self._tap is not None:
            if self._tap.durable:
                try:
                    self._tap.record_now(job.request, job.owner)
                except WriteError:
                    self._refuse_all(job, unrecorded())
                    return
            else:
                sent = partial(self._tap.record, job.request, job.owner)
        if self._queries is not None:
            sent = partial(self._log, job, sent)
        durations = (
            # The wait for its turn, and between the slices for those of others.
            computed_ns - arrived_ns - job.read_ns - job.decode_ns - job.tail_ns,
            job.read_ns + job.decode_ns,
            job.tail_ns,
            self._clock() - computed_ns,
        )
        if self._watch is not None:
            sent = partial(self._show, job, durations, sent)
        first.answer(timed(reply, *durations), sent)
        # Repetitions during the computation wait in the job; later ones are answered from memory.
        for caller, came_ns in self._replies.finish(job, reply)[1:]:
            self.metrics.count("repeated_requests")
            caller.answer(self._repeated(reply, came_ns), nothing)
        self.metrics.answer(job.request.nbytes, durations)

    def _log(self, job: Job, sent: Callable[[], None]) -> None:
        """Count the samples of a request in the log of queries, after its answer."""
        sent()
        assert self._queries is not None
        assert job.smashed is not None
        peer = job.callers[0][0].peer
        self._queries.see(peer.party, peer.name, job.smashed, chosen(next(iter(job.answers.values()))))

    def _show(self, job: Job, durations: tuple[int, int, int, int], sent: Callable[[], None]) -> None:
        """Hand an answered request to whoever watches, after its answer."""
        sent()
        assert self._watch is not None
        assert job.smashed is not None
        known = job.template
        self._watch(Seen(known.session, job.id, known.defense, job.smashed, job.answers, job.request.nbytes, durations))

    def _repeated(self, reply: Message, arrived_ns: int) -> Message:
        """Return an earlier answer with the durations of this repetition."""
        return timed(reply, 0, 0, 0, max(0, self._clock() - arrived_ns))

    def _fail(self, job: Job, error: Exception) -> bool:
        """Refuse a request; return False if it has been answered already."""
        if not self._batcher.end(job):
            return False
        self._refuse_all(job, refusal(error))
        return True

    def _refuse_all(self, job: Job, refused: Refused) -> None:
        """Refuse a request to all who wait for it."""
        for caller, _ in self._replies.finish(job, None):
            self._refuse(caller, refused)

    def _drop(self, job: Job) -> None:
        if not self._batcher.end(job):
            return
        self.metrics.count("abandoned_requests")
        for caller, _ in job.callers:
            caller.answer(Refused("CANCELLED", "The client closed its connection."), nothing)
        if self._tap is not None:
            with contextlib.suppress(DecodeError):
                if job.smashed is None:
                    self._reader.smashed(job)
                self._record(job)

    def _refuse(self, caller: Caller, refused: Refused) -> None:
        self.metrics.refuse(refused.code)
        self._visitors.refused(caller.peer.name, refused.code, str(refused))
        caller.answer(refused, nothing)

    def _record(self, job: Job) -> None:
        """Give the request to the tap, after its answer."""
        if self._tap is not None:
            self._tap.record(job.request, job.owner)
