"""What the device does while its server is away, and after it has returned.

queue   Each request is written to a queue on disk before it is sent, and leaves the queue once it is answered. The
        queue is sent in order. An image is released only once, because a second draw of a defense's noise would tell
        an attacker more than the first draw alone.
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
from cutlayer.edge.offline.queue import Queue
from cutlayer.errors import DeadlineExceeded, QueueError, Refused, SplitError, WireError
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.split_folder import Half, SplitFolder, whole
from cutlayer.trace import Trace
from cutlayer.wire.message import read_infer_request
from cutlayer.wire.transport import Timeouts, Transport

SETS_ASIDE = ("INVALID_ARGUMENT", "INTERNAL")
"""Refusals that concern one request and would recur: it leaves the queue, so that the others can be sent."""

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
        self._counts = OfflineCounts(where=queue.folder if queue is not None else None)
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
            return replace(self._counts, waiting=self._waiting())

    def infer(
        self, images: NDArray[np.float32], index: int, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[Any], Trace] | None:
        """See `Edge.infer`; return None if the server does not answer in time, or has to answer older requests first.

        Raises:
            SplitError: The server holds another split.
            WireError: The server refuses this device, or this request without a queue; a queue counts it instead.
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

        Raises:
            SplitError: The server holds another split.
            WireError: The server refuses this device.
            QueueError: The queue or its disk is full.
        """
        with self._changed:
            losses = self._lookout.losses
            if self._waiting():
                self._lookout.at_once()
                self._changed.notify_all()
            # The counts of a request change after it has left the queue, while its thread is still sending.
            self._changed.wait_for(
                lambda: (
                    self._queue is None
                    or self._fault
                    or self._lookout.losses > losses
                    or not (self._waiting() or self._sending)
                )
            )
        self._raise_fault()

    def lost(self, error: WireError) -> None:
        """Note that the server is away, or raise the error if it has another cause."""
        with self._changed:
            if not self._closing:
                self._lookout.lost(error)
                self._changed.notify_all()

    def close(self, transport: Transport) -> None:
        """Close the transport, which ends a request under way, and then the thread and the queue."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        transport.close()
        self._thread.join()
        if self._queue is not None:
            self._queue.close()

    def _infer_queued(self, queue: Queue, outgoing: Outgoing) -> tuple[NDArray[Any], Trace] | None:
        place, dropped = queue.put(outgoing.request)
        self.reachable()
        with self._changed:
            self._counts.dropped += dropped
            at_once = self._lookout.here and self._prompt and not self._sending and len(queue) == 1
            self._sending = self._sending or at_once
        if at_once:
            try:
                answer, finished = self._ask(outgoing)
                if finished:
                    queue.done(place)
                    return answer
            finally:
                self._sending = False
        # After the attempt to send, so that no answer waits for the disk.
        queue.sync()
        with self._changed:
            self._counts.queued += 1
            self._changed.notify_all()
        self._raise_fault()
        return None

    def _ask(self, outgoing: Outgoing) -> tuple[tuple[NDArray[Any], Trace] | None, bool]:
        """Send a request of the queue; return the answer if it came in time, and whether the request is finished."""
        try:
            answer = self._edge.ask(outgoing, self.wait_s)
        except DeadlineExceeded:
            # It is still on its way, perhaps over a slow link; the thread asks for its answer again.
            self._prompt, self._missed = False, True
            return None, False
        except WireError as error:
            return None, self._gives_up(error)
        self._lookout.answered()
        return answer, True

    def _run(self) -> None:
        """Look for the server and send the queue, until `close` or an error that ends the run."""
        try:
            while self._await_work():
                try:
                    if not self._lookout.here:
                        self._lookout.look()
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
                    pause_s = 0.0
                if pause_s == 0.0:
                    self._sending = True
                    return True
                self._changed.wait(pause_s)
            return False

    def _send_oldest(self, queue: Queue) -> None:
        place, request = queue.first()
        start = time.monotonic()
        try:
            request_id, logits = self._edge.ask_again(request)
        except WireError as error:
            if self._gives_up(error):
                queue.done(place)
            return
        took_s = time.monotonic() - start
        kept = queue.done(place)
        self._lookout.answered()
        with self._changed:
            # The answer to a second request for the same thing says little about the server's speed.
            self._prompt, self._missed = not self._missed and took_s <= self.wait_s, False
            self._late[request_id] = logits
            self._counts.replayed += 1
            # A full queue counted it as dropped while it was being sent.
            self._counts.dropped -= not kept

    def _waiting(self) -> int:
        return 0 if self._queue is None else len(self._queue)

    def _gives_up(self, error: WireError) -> bool:
        """Return whether a queued request is given up, and count it; for other errors see `Lookout.lost`."""
        if not isinstance(error, Refused) or error.code not in SETS_ASIDE:
            self.lost(error)
            return False
        log.warning("a queued request was refused and is given up: %s", error)
        with self._changed:
            self._counts.refused += 1
        return True

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
