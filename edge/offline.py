"""What the device does while its server is gone, and when it is back.

    queue   each request is written to a queue on disk before it is sent, and leaves the queue once it is answered. The
            queue is sent in order: what was released is never released again, for a second draw of a defense's noise
            would tell an attacker more than the first alone.
    local   head and tail run here; nothing leaves.
    drop    nothing runs and nothing is kept; it is counted.

A server that is gone is looked for again with growing pauses, so that requests do not wait for it one by one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import DeadlineExceeded, QueueError, Refused, Unreachable, WireError
from cutlayer.onnx_session import open_half
from cutlayer.spec import Manifest
from cutlayer.trace import Trace
from cutlayer.wire.message import read_infer_request, tail_name
from cutlayer.wire.transport import Timeouts
from edge.absence import Absence, WhenOffline
from edge.client import Edge
from edge.pipeline import Head
from edge.queue import Queue

SETS_ASIDE = ("INVALID_ARGUMENT", "INTERNAL")
"""Refusals that concern one request and would come again: it leaves the queue, so that the others can be sent."""

log = logging.getLogger("edge.offline")


class Offline:
    """An `Edge` whose server may be gone. Close it.

    Args:
        edge: That has not greeted its server.
        manifest: Of its split.
        timeouts: `connect_s` is how long one look for the server takes.
        queue: Of the policy queue; what an earlier process left in it is sent first.
        whole: Of the policy local: from ``(N, C, H, W)`` to logits. Neither of the two: the policy is drop.
        first_pause_s: From the first look that was in vain to the next; it doubles each time.
        most_pause_s: What no pause exceeds.
        clock: Monotonic, in seconds.

    Attributes:
        absence: What became of what was not answered at once.
        late: Id to logits of what was answered from the queue, or here.

    Raises:
        QueueError: The queue holds requests of another split.
    """

    def __init__(
        self,
        edge: Edge,
        manifest: Manifest,
        timeouts: Timeouts,
        *,
        queue: Queue | None = None,
        whole: Head | None = None,
        first_pause_s: float = 1.0,
        most_pause_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._edge, self._timeouts, self._queue, self._whole = edge, timeouts, queue, whole
        self._first_pause_s, self._most_pause_s, self._clock = first_pause_s, most_pause_s, clock
        self._pause_s, self._look_at, self._here = first_pause_s, -inf, False
        self.absence = Absence(where=queue.folder if queue is not None else None)
        self.late: dict[str, NDArray[Any]] = {}
        if queue is not None and len(queue):
            _check_split(queue, manifest)

    def infer(
        self, images: NDArray[np.float32], index: int, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[Any], Trace] | None:
        """See `Edge.infer`; None when the server did not answer this request now, or answered it after older ones.

        Raises:
            SplitError: The server that is there holds another split.
            WireError: It refuses this request.
            QueueError: The queue is full, or its disk is.
        """
        if self._queue is not None:
            return self._infer_queued(self._queue, images, index, rng)
        if self.reachable():
            try:
                return self._edge.infer(images, index, rng)
            except WireError as error:
                self.lost(error)
        if self._whole is None:
            self.absence.dropped += 1
        else:
            self.late[self._edge.request_id(index)] = self._whole(images)
            self.absence.local += 1
        return None

    def replay(self) -> None:
        """Send what waits, the oldest first, until nothing does or the server is gone."""
        queue = self._queue
        while queue is not None and len(queue) and self.reachable():
            request = queue.first()
            try:
                self.late.update([self._edge.ask_again(request)])
            except Refused as refused:
                if refused.code not in SETS_ASIDE:
                    self.lost(refused)
                    break
                log.warning("a queued request was refused and is given up: %s", refused)
                self.absence.refused += 1
            except WireError as error:
                self.lost(error)
                break
            else:
                self.absence.replayed += 1
            queue.done()
        self.absence.waiting = 0 if queue is None else len(queue)

    def finish(self) -> None:
        """Look for the server once more, pause or not, and send what waits."""
        self._look_at = -inf
        self.replay()

    def reachable(self) -> bool:
        """Whether the server is there, as far as is known; looks for it where it was gone and the pause is over."""
        if self._here:
            return True
        if self._clock() < self._look_at:
            return False
        try:
            self._edge.shake_hands(self._timeouts.connect_s)
        except WireError as error:
            self.lost(error)
            return False
        self._here, self._pause_s = True, self._first_pause_s
        return True

    def close(self) -> None:
        """Let go of the queue."""
        if self._queue is not None:
            self._queue.close()

    def _infer_queued(
        self, queue: Queue, images: NDArray[np.float32], index: int, rng: np.random.Generator | None
    ) -> tuple[NDArray[Any], Trace] | None:
        outgoing = self._edge.release(images, index, rng)
        self.absence.dropped += queue.put(outgoing.request)
        if len(queue) == 1 and self.reachable():
            try:
                answer = self._edge.ask(outgoing)
            except WireError as error:
                if getattr(error, "code", "") in SETS_ASIDE:
                    queue.done()
                self.lost(error)
            else:
                queue.done()
                return answer
        else:
            self.replay()
        self.absence.waiting = len(queue)
        if self.absence.waiting:
            # Only now, when nobody waits for an answer, and this may be all that is left of the input.
            queue.sync()
            self.absence.queued += 1
        return None

    def lost(self, error: WireError) -> None:
        """Take note that the server is gone. Raises the error where it says something else."""
        gone = isinstance(error, Unreachable | DeadlineExceeded) or (
            isinstance(error, Refused) and (error.retry_after_ms or error.code == "UNAVAILABLE")
        )
        if not gone:
            raise error
        if self._here or self._pause_s == self._first_pause_s:
            log.warning("the server is gone: %s", error)
        self._here = False
        self._look_at = self._clock() + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._most_pause_s)


def open_offline(
    when: WhenOffline, edge: Edge, manifest: Manifest, timeouts: Timeouts, folder: Path, head: Head, threads: int
) -> Offline:
    """The `Offline` that the user asked for.

    Args:
        when: What he asked for.
        edge: That has not greeted its server.
        manifest: Of its split.
        timeouts: Of its transport.
        folder: The split folder.
        head: Of that folder.
        threads: That compute one request.

    Raises:
        SplitError: The policy is local, and `tail.onnx` is not in the folder.
        QueueError: The queue cannot be used.
    """
    if when.do == "drop":
        return Offline(edge, manifest, timeouts)
    if when.do == "queue":
        queue = Queue(when.queue, when.most_bytes, drop_oldest=when.drop_oldest)
        try:
            return Offline(edge, manifest, timeouts, queue=queue)
        except BaseException:
            queue.close()
            raise
    manifest.verify(folder, "tail.onnx")
    tail = open_half(folder / "tail.onnx", threads, "smashed", "logits")
    return Offline(edge, manifest, timeouts, whole=lambda images: tail(head(images)))


def _check_split(queue: Queue, manifest: Manifest) -> None:
    """All requests of a queue are of one split, so the first tells."""
    asked = read_infer_request(queue.first())
    held = (asked.model, asked.version)
    if held != (tail_name(manifest), manifest.version):
        raise QueueError(
            f"The queue {queue.folder} holds {len(queue):,} requests of {' '.join(held)}, not of this split; send them "
            "with the folder that they were made with, or name another queue."
        )
