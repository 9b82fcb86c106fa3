"""What the device does while its server is away, and after it has returned.

queue   Each request is written to a queue on disk before it is sent, and leaves the queue once it is answered. The
        queue is sent in order. An image is released only once, because a second draw of a defense's noise would tell
        an attacker more than the first draw alone.
local   Head and tail run on the device; nothing leaves it.
drop    Nothing runs and nothing is kept; the request is only counted.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.edge.client import Edge
from cutlayer.edge.offline.lookout import Lookout
from cutlayer.edge.offline.policy import OfflineCounts, OfflinePolicy
from cutlayer.edge.offline.queue import Queue
from cutlayer.errors import QueueError, Refused, WireError
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.split_folder import Half, SplitFolder
from cutlayer.trace import Trace
from cutlayer.wire.message import read_infer_request
from cutlayer.wire.transport import Timeouts

SETS_ASIDE = ("INVALID_ARGUMENT", "INTERNAL")
"""Refusals that concern one request and would recur: it leaves the queue, so that the others can be sent."""

log = logging.getLogger("cutlayer.edge.offline.replay")


class Offline:
    """An `Edge` whose server may be away. Close it after use.

    Args:
        edge: The device, without a handshake so far.
        manifest: Manifest of its split.
        lookout: State of its server.
        queue: Queue of the policy queue; requests of an earlier process are sent first.
        model: Whole model of the policy local, ``(N, *input.shape)`` to logits. Without queue and model, the policy is
            drop.

    Attributes:
        lookout: State of the server.
        counts: Counts of the requests that were not answered at once.
        late: Logits by request id, for requests answered from the queue or on the device.

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
    ) -> None:
        self._edge, self._queue, self._model, self.lookout = edge, queue, model, lookout
        self.counts = OfflineCounts(where=queue.folder if queue is not None else None)
        self.late: dict[str, NDArray[Any]] = {}
        if queue is not None and len(queue):
            _check_split(queue, manifest)

    def infer(
        self, images: NDArray[np.float32], index: int, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[Any], Trace] | None:
        """See `Edge.infer`; return None if the server did not answer now, or answered after older requests.

        Raises:
            SplitError: The server holds another split.
            WireError: The server refuses this device, or this request without a queue; a queue counts it instead.
            QueueError: The queue or its disk is full.
        """
        if self._queue is not None:
            return self._infer_queued(self._queue, images, index, rng)
        if self.lookout.reachable():
            try:
                return self._edge.infer(images, index, rng)
            except WireError as error:
                self.lookout.lost(error)
        if self._model is None:
            self.counts.dropped += 1
        else:
            self.late[self._edge.request_id(index)] = self._model(images)
            self.counts.local += 1
        return None

    def replay(self) -> None:
        """Send the waiting requests, the oldest first, until none is left or the server is away."""
        queue = self._queue
        while queue is not None and len(queue) and self.lookout.reachable():
            request = queue.first()
            try:
                self.late.update([self._edge.ask_again(request)])
            except WireError as error:
                if not self._gives_up(error):
                    break
            else:
                self.counts.replayed += 1
            queue.done()
        self.counts.waiting = 0 if queue is None else len(queue)

    def finish(self) -> None:
        """Try to reach the server once more without a pause, and send the waiting requests."""
        self.lookout.at_once()
        self.replay()

    def close(self) -> None:
        """Close the queue."""
        if self._queue is not None:
            self._queue.close()

    def _gives_up(self, error: WireError) -> bool:
        """Return whether a queued request is given up, and count it; for other errors see `Lookout.lost`."""
        if not isinstance(error, Refused) or error.code not in SETS_ASIDE:
            self.lookout.lost(error)
            return False
        log.warning("a queued request was refused and is given up: %s", error)
        self.counts.refused += 1
        return True

    def _infer_queued(
        self, queue: Queue, images: NDArray[np.float32], index: int, rng: np.random.Generator | None
    ) -> tuple[NDArray[Any], Trace] | None:
        outgoing = self._edge.release(images, index, rng)
        self.counts.dropped += queue.put(outgoing.request)
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
        self.counts.waiting = len(queue)
        if self.counts.waiting:
            # After the attempt to send, so that no answer waits for the disk.
            queue.sync()
            self.counts.queued += 1
        return None


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
    lookout = Lookout(lambda: edge.shake_hands(timeouts.connect_s))
    if policy.do == "drop":
        return Offline(edge, manifest, lookout)
    if policy.do == "queue":
        queue = Queue(policy.queue, policy.most_bytes, drop_oldest=policy.drop_oldest)
        try:
            return Offline(edge, manifest, lookout, queue=queue)
        except BaseException:
            queue.close()
            raise
    tail = split.tail(threads=threads)
    return Offline(edge, manifest, lookout, model=lambda images: tail(head(images)))


def _check_split(queue: Queue, manifest: Manifest) -> None:
    """Raise QueueError if the queue belongs to another split. All its requests have one split, so one is read."""
    inference = read_infer_request(queue.first())
    held = (inference.model, inference.version)
    if held != (tail_name(manifest), manifest.version):
        raise QueueError(
            f"The queue {queue.folder} holds {len(queue):,} requests of another split, {' '.join(held)}; send them "
            "with the split folder that made them, or name another queue."
        )
