"""What the device does while its server is away, and after it has returned.

queue   Each request is written to a queue on disk before it is sent, and leaves the queue once it is answered, or is
        moved to the folder `set-aside` of the queue, with the reason: `cutlayer.wire.outcomes` says what is a refusal
        for good, and `suspects` which request has failed too often. The queue is sent in order, but for requests that
        failed. An image is released only once, because a second draw of a defense's noise would tell an attacker more
        than the first draw alone.
local   Head and tail run on the device; nothing leaves it.
drop    Nothing runs and nothing is kept; the request is only counted.

A frame waits for the server at most `OfflinePolicy.wait_s`, and only while the server answers in that time. A thread of
its own looks for the server and sends the queue.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.edge.client import Edge, Outgoing
from cutlayer.edge.offline.lookout import Lookout
from cutlayer.edge.offline.policy import WAIT_S, OfflineCounts, OfflinePolicy
from cutlayer.edge.offline.queue import SET_ASIDE, Place, Queue
from cutlayer.edge.offline.suspects import Suspects
from cutlayer.errors import DeadlineExceeded, QueueError, Refused, SplitError, WireError
from cutlayer.foreign import shown
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.split_folder import Half, SplitFolder, whole
from cutlayer.trace import Trace
from cutlayer.wire.message import read_infer_request
from cutlayer.wire.outcomes import Then, outcome
from cutlayer.wire.transport import Timeouts, Transport

PASSED_S = 10.0
"""Seconds after which a request that failed is sent again, where no other waits that could be sent instead."""

log = logging.getLogger("cutlayer.edge.offline.replay")


class Offline:
    """An `Edge` whose server may be away. One thread makes requests. Close it after use.

    Args:
        edge: The device, without a handshake so far.
        manifest: Manifest of its split.
        lookout: State of its server.
        queue: Queue of the policy queue; requests of an earlier process are sent first.
        model: Whole model of the policy local, ``(N, *input.shape)`` to logits. Without queue and model, the policy is
            drop.
        wait_s: Longest time in seconds that a request waits for the server.

    Attributes:
        wait_s: See above.

    Raises:
        QueueError: The queue holds requests of another split.
    """

    def __init__(
        self,
        edge: Edge,
        manifest: Manifest,
        lookout: Lookout,
        *,
        queue: Queue | None = None,
        model: Half | None = None,
        wait_s: float = WAIT_S,
    ) -> None:
        self._edge, self._queue, self._model, self._lookout, self.wait_s = edge, queue, model, lookout, wait_s
        if queue is not None and len(queue):
            _check_split(queue, manifest)
        self._counts = OfflineCounts()
        if queue is not None:
            self._counts = OfflineCounts(where=queue.folder, aside=queue.folder / SET_ASIDE)
        self._suspects = Suspects()
        self._late: dict[str, NDArray[Any]] = {}
        # Held while the fields below change, never while a thread waits for the network.
        self._changed = threading.Condition()
        # A thread is sending; whether the last answer came within `wait_s`; whether a request waited longer than that.
        self._sending, self._prompt, self._missed = False, True, False
        self._waited_for_first_look = self._closing = False
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="offline", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> OfflineCounts:
        """Counts of the requests that were not answered at once."""
        with self._changed:
            return replace(self._counts, waiting=self._waiting(), why=self._lookout.why or self._suspects.why)

    def infer(
        self, images: NDArray[np.float32], index: int, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[Any], Trace] | None:
        """See `Edge.infer`; return None if the server does not answer in time, or has to answer older requests first.

        Raises:
            DataError: The head does not take such a batch.
            SplitError: The server holds another split.
            WireError: The server refuses the handshake for good, or this request without a queue; a queue sets it
                aside instead.
            QueueError: The queue or its disk is full.
        """
        if self._queue is not None:
            return self._infer_queued(self._queue, self._edge.release(images, index, rng))
        self._raise_fault()
        if self.reachable():
            try:
                answer = self._edge.ask(self._edge.release(images, index, rng), self.wait_s)
            except WireError as error:
                self.lost(error)
            else:
                self._lookout.answered()
                return answer
        images = self._edge.checked(images)
        logits = None if self._model is None else self._model(images)
        with self._changed:
            if logits is None:
                self._counts.dropped += 1
            else:
                self._late[self._edge.request_id(index)] = logits
                self._counts.local += 1
        return None

    def reachable(self) -> bool:
        """Return whether the server is reachable, as far as is known; only the first call waits, at most `wait_s`."""
        if not self._waited_for_first_look:
            self._waited_for_first_look = True
            with self._changed:
                self._changed.wait_for(lambda: self._lookout.here or self._lookout.losses or self._fault, self.wait_s)
        return self._lookout.here

    def collect(self) -> dict[str, NDArray[Any]]:
        """Return the logits by request id that came late, from the queue or from the device, since the last call."""
        with self._changed:
            late, self._late = self._late, {}
            return late

    def flush(self) -> None:
        """Return once no request waits, or the server is away; if requests wait, try to reach it without a pause.

        Requests that failed are tried again, and may then still wait.

        Raises:
            SplitError: The server holds another split.
            WireError: The server refuses the handshake for good.
            QueueError: The queue or its disk is full.
        """
        with self._changed:
            losses = self._lookout.losses
            if self._waiting():
                self._lookout.at_once()
                self._pass_over_no_longer()
                self._changed.notify_all()
            # The counts of a request change after it has left the queue, while its thread is still sending.
            self._changed.wait_for(
                lambda: (
                    self._queue is None
                    or self._fault
                    or self._lookout.losses > losses
                    or not (self._due() or self._sending)
                )
            )
        self._raise_fault()

    def lost(self, error: WireError) -> None:
        """Note that the server is away, or fails; raise the error if it refuses for good."""
        with self._changed:
            if not self._closing:
                self._lookout.lost(error)
                self._changed.notify_all()

    def close(self, transport: Transport) -> None:
        """Close the transport, which ends a request under way, and then the thread and the queue."""
        with self._changed:
            self._closing = self._lookout.over = True
            self._changed.notify_all()
        transport.close()
        self._thread.join()
        if self._queue is not None:
            self._queue.close()

    def _infer_queued(self, queue: Queue, outgoing: Outgoing) -> tuple[NDArray[Any], Trace] | None:
        place, dropped = queue.put(outgoing.request)
        self.reachable()
        with self._changed:
            if dropped:
                self._counts.dropped += dropped
                self._suspects.keep(queue.holds)
            at_once = self._lookout.here and self._prompt and not self._sending and self._due() == 1
            self._sending = self._sending or at_once
        if at_once:
            try:
                answer, finished = self._ask(queue, place, outgoing)
            finally:
                self._sending = False
            if finished:
                if self._suspects:
                    with self._changed:
                        self._changed.notify_all()
                return answer
        # After the attempt to send, so that no answer waits for the disk.
        queue.sync()
        with self._changed:
            self._counts.queued += 1
            self._changed.notify_all()
        self._raise_fault()
        return None

    def _ask(self, queue: Queue, place: Place, outgoing: Outgoing) -> tuple[tuple[NDArray[Any], Trace] | None, bool]:
        """Send a request of the queue; return the answer if it came in time, and whether the request has left it."""
        try:
            answer = self._edge.ask(outgoing, self.wait_s)
        except DeadlineExceeded:
            # It is still on its way, perhaps over a slow link; the thread asks for its answer again.
            self._prompt, self._missed = False, True
            return None, False
        except WireError as error:
            return None, self._failed(queue, place, error)
        queue.done(place)
        self._answered(queue, place)
        return answer, True

    def _run(self) -> None:
        """Look for the server and send the queue, until `close` or an error that ends the run."""
        try:
            while self._await_work():
                try:
                    if not self._lookout.here:
                        self._look()
                    elif self._queue is not None:
                        self._send_oldest(self._queue)
                finally:
                    with self._changed:
                        self._sending = False
                        self._changed.notify_all()
        except Exception as error:
            with self._changed:
                self._fault = error
                self._changed.notify_all()

    def _await_work(self) -> bool:
        """Wait until the server is to be looked for, or a request to be sent; return False after `close`."""
        with self._changed:
            while not self._closing:
                pause_s = None
                if not self._sending and not self._lookout.here:
                    pause_s = self._lookout.due_in_s()
                elif not self._sending and self._waiting():
                    pause_s = 0.0 if self._due() else PASSED_S
                if pause_s == 0.0:
                    self._sending = True
                    return True
                if not self._changed.wait(pause_s):
                    self._pass_over_no_longer()
            return False

    def _look(self) -> None:
        self._lookout.look()
        with self._changed:
            self._pass_over_no_longer()

    def _pass_over_no_longer(self) -> None:
        """Send the requests that failed once more, if no other is left whose answer would tell more."""
        if not self._due():
            self._suspects.again()

    def _send_oldest(self, queue: Queue) -> None:
        place, request = queue.first(self._suspects.passed)
        start = time.monotonic()
        try:
            request_id, logits = self._edge.ask_again(request)
        except WireError as error:
            self._failed(queue, place, error)
            return
        took_s = time.monotonic() - start
        kept = queue.done(place)
        self._answered(queue, place)
        with self._changed:
            # The answer to a second request for the same thing says little about the server's speed.
            self._prompt, self._missed = not self._missed and took_s <= self.wait_s, False
            self._late[request_id] = logits
            self._counts.replayed += 1
            # A full queue counted it as dropped while it was being sent.
            self._counts.dropped -= not kept

    def _waiting(self) -> int:
        return 0 if self._queue is None else len(self._queue)

    def _due(self) -> int:
        """Number of waiting requests that are not passed over."""
        return self._waiting() - len(self._suspects.passed)

    def _answered(self, queue: Queue, place: Place) -> None:
        """Note that the server has answered a request, and set those aside that have failed too often beside it."""
        with self._changed:
            self._lookout.answered()
            failed = self._suspects.answered(place)
            self._changed.notify_all()
        for other, (_, error) in failed.items():
            self._set_aside(queue, other, error)

    def _failed(self, queue: Queue, place: Place, error: WireError) -> bool:
        """Decide what becomes of a request that was sent in vain; return whether it has left the queue.

        Raises:
            SplitError: The server now holds another split; the request waits for its own.
        """
        then = outcome(error).then
        if isinstance(error, Refused) and error.code == "NOT_FOUND":
            # Of this request, or of all of this device?
            self._lookout.look()
            if not self._lookout.here:
                return False
        if then is Then.REFUSED:
            self._set_aside(queue, place, error)
            return True
        with self._changed:
            if self._closing or not queue.holds(place):
                return False
            if then is Then.AWAY:
                self._suspects.lost(place, error)
            if then is Then.AWAY or self._suspects.failed(place, error):
                self._lookout.lost(error)
        return False

    def _set_aside(self, queue: Queue, place: Place, error: WireError) -> None:
        """Move a request to the folder of those that are given up, with the reason, and count it."""
        reason = shown(f"{error.code}: {error}" if isinstance(error, Refused) else error)
        log.warning("a queued request is set aside: %s", reason)
        kept, dropped = queue.set_aside(place, reason)
        with self._changed:
            self._counts.dropped += dropped
            if kept:
                self._counts.why_aside = reason
                self._counts.refused += outcome(error).then is Then.REFUSED
                self._counts.failed += outcome(error).then is not Then.REFUSED

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault


def open_offline(
    policy: OfflinePolicy, edge: Edge, split: SplitFolder, timeouts: Timeouts, head: Half, threads: int
) -> Offline:
    """Return the `Offline` for the policy that the user chose.

    Args:
        policy: The policy.
        edge: The device, without a handshake so far.
        split: The split folder of the device.
        timeouts: Time limits; `connect_s` is that of one attempt to reach the server.
        head: The head of that folder.
        threads: Threads that compute one request.

    Raises:
        SplitError: The policy is local, and `tail.onnx` is not in the folder.
        QueueError: The queue cannot be used.
    """
    manifest = split.manifest
    if manifest.ends is not None and manifest.ends.state and policy.do != "drop":
        raise SplitError(
            f"The model keeps state from one request to the next, so none can be answered later or elsewhere; leave "
            f"out --on-offline {policy.do}, or use drop."
        )
    lookout = Lookout(lambda: edge.shake_hands(timeouts.connect_s))
    if policy.do == "drop":
        return Offline(edge, manifest, lookout, wait_s=policy.wait_s)
    if policy.do == "queue":
        queue = Queue(policy.queue, policy.most_bytes, drop_oldest=policy.drop_oldest)
        try:
            return Offline(edge, manifest, lookout, queue=queue, wait_s=policy.wait_s)
        except BaseException:
            queue.close()
            raise
    tail = split.tail(threads=threads)
    return Offline(edge, manifest, lookout, model=whole(head, tail, manifest), wait_s=policy.wait_s)


def _check_split(queue: Queue, manifest: Manifest) -> None:
    """Raise QueueError if the queue belongs to another split. All its requests have one split, so one is read."""
    _, request = queue.first()
    inference = read_infer_request(request)
    held = (inference.model, inference.version)
    if held != (tail_name(manifest), manifest.version):
        raise QueueError(
            f"The queue {queue.folder} holds {len(queue):,} requests of another split, {' '.join(held)}; send them "
            "with the split folder that made them, or name another queue."
        )
