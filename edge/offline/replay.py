"""What the device does while its server is gone, and when it is back.

queue   each request is written to a queue on disk before it is sent, and leaves the queue once it is answered. The
        queue is sent in order: what was released is never released again, for a second draw of a defense's noise
        would tell an attacker more than the first alone.
local   head and tail run here; nothing leaves.
drop    nothing runs and nothing is kept; it is counted.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import QueueError, Refused, WireError
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.split_folder import Half, SplitFolder
from cutlayer.trace import Trace
from cutlayer.wire.message import read_infer_request
from cutlayer.wire.transport import Timeouts
from edge.client import Edge
from edge.offline.lookout import Lookout
from edge.offline.policy import Absence, WhenOffline
from edge.offline.queue import Queue

SETS_ASIDE = ("INVALID_ARGUMENT", "INTERNAL")
"""Refusals that concern one request and would come again: it leaves the queue, so that the others can be sent."""

log = logging.getLogger("edge.offline.replay")


class Offline:
    """An `Edge` whose server may be gone. Close it.

    Args:
        edge: That has not greeted its server.
        manifest: Of its split.
        lookout: For its server.
        queue: Of the policy queue; what an earlier process left in it is sent first.
        whole: Of the policy local: from ``(N, C, H, W)`` to logits. Neither of the two: the policy is drop.

    Attributes:
        lookout: See above.
        absence: What became of what was not answered at once.
        late: Id to logits of what was answered from the queue, or here.

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
        whole: Half | None = None,
    ) -> None:
        self._edge, self._queue, self._whole, self.lookout = edge, queue, whole, lookout
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
            WireError: It refuses this device; or this request, unless there is a queue, where that is counted.
            QueueError: The queue is full, or its disk is.
        """
        if self._queue is not None:
            return self._infer_queued(self._queue, images, index, rng)
        if self.lookout.reachable():
            try:
                return self._edge.infer(images, index, rng)
            except WireError as error:
                self.lookout.lost(error)
        if self._whole is None:
            self.absence.dropped += 1
        else:
            self.late[self._edge.request_id(index)] = self._whole(images)
            self.absence.local += 1
        return None

    def replay(self) -> None:
        """Send what waits, the oldest first, until nothing does or the server is gone."""
        queue = self._queue
        while queue is not None and len(queue) and self.lookout.reachable():
            request = queue.first()
            try:
                self.late.update([self._edge.ask_again(request)])
            except WireError as error:
                if not self._gives_up(error):
                    break
            else:
                self.absence.replayed += 1
            queue.done()
        self.absence.waiting = 0 if queue is None else len(queue)

    def finish(self) -> None:
        """Look for the server once more, pause or not, and send what waits."""
        self.lookout.at_once()
        self.replay()

    def close(self) -> None:
        """Let go of the queue."""
        if self._queue is not None:
            self._queue.close()

    def _gives_up(self, error: WireError) -> bool:
        """Whether a queued request is not to be sent again, and counted as that; otherwise see `Lookout.lost`."""
        if not isinstance(error, Refused) or error.code not in SETS_ASIDE:
            self.lookout.lost(error)
            return False
        log.warning("a queued request was refused and is given up: %s", error)
        self.absence.refused += 1
        return True

    def _infer_queued(
        self, queue: Queue, images: NDArray[np.float32], index: int, rng: np.random.Generator | None
    ) -> tuple[NDArray[Any], Trace] | None:
        outgoing = self._edge.release(images, index, rng)
        self.absence.dropped += queue.put(outgoing.request)
        if len(queue) == 1 and self.lookout.reachable():
            try:
                answer = self._edge.ask(outgoing)
            except WireError as error:
                if self._gives_up(error):
                    queue.done()
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


def open_offline(
    when: WhenOffline, edge: Edge, split: SplitFolder, timeouts: Timeouts, head: Half, threads: int
) -> Offline:
    """The `Offline` that the user asked for.

    Args:
        when: What he asked for.
        edge: That has not greeted its server.
        split: The split folder of the device.
        timeouts: `connect_s` is how long one look for the server takes.
        head: The head of that folder.
        threads: That compute one request.

    Raises:
        SplitError: The policy is local, and `tail.onnx` is not in the folder.
        QueueError: The queue cannot be used.
    """
    manifest = split.manifest
    lookout = Lookout(lambda: edge.shake_hands(timeouts.connect_s))
    if when.do == "drop":
        return Offline(edge, manifest, lookout)
    if when.do == "queue":
        queue = Queue(when.queue, when.most_bytes, drop_oldest=when.drop_oldest)
        try:
            return Offline(edge, manifest, lookout, queue=queue)
        except BaseException:
            queue.close()
            raise
    tail = split.tail(threads=threads)
    return Offline(edge, manifest, lookout, whole=lambda images: tail(head(images)))


def _check_split(queue: Queue, manifest: Manifest) -> None:
    """All requests of a queue are of one split, so the first tells."""
    asked = read_infer_request(queue.first())
    held = (asked.model, asked.version)
    if held != (tail_name(manifest), manifest.version):
        raise QueueError(
            f"The queue {queue.folder} holds {len(queue):,} requests of {' '.join(held)}, not of this split; send them "
            "with the folder that they were made with, or name another queue."
        )
