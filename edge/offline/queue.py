"""A bounded queue of released requests on disk: first in, first out, and whole again after kill -9.

What is durable: when `Queue.put` returns, the request is with the operating system, and killing the process loses
nothing. After `Queue.sync` it is on the disk, and a power cut loses nothing either. What was done shortly before a
power cut may be sent again, under the same id, by which a server knows it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import deque
from pathlib import Path

from cutlayer.errors import QueueError
from cutlayer.wire.message import Message
from edge.offline.segment import OVERHEAD_BYTES, SUFFIX, Segment

SEGMENTS = 16
"""That a full queue consists of, about: space is freed, and the oldest go, one segment at a time."""


class Queue:
    """The queue in one folder, for one process at a time, and one thread. Close it.

    Args:
        folder: Made where it is missing, continued where it is not.
        most_bytes: That it takes on the disk, with what is done and not yet deleted.
        drop_oldest: What happens when it is full: the oldest segment goes, or the new request is refused.

    Raises:
        QueueError: The folder is in use, or cannot be written.
    """

    def __init__(self, folder: Path, most_bytes: int, *, drop_oldest: bool = False) -> None:
        self.folder, self._most_bytes, self._drop_oldest = folder, most_bytes, drop_oldest
        self._segments: deque[Segment] = deque()
        self._number = 0
        self._unsynced_names = False
        try:
            with contextlib.ExitStack() as opened:
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = opened.enter_context((folder / "lock").open("ab"))
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                opened.callback(self.close)
                self._open_segments()
                opened.pop_all()
        except BlockingIOError:
            raise QueueError(f"Another process uses the queue {folder}; end it, or name another folder.") from None
        except OSError as error:
            raise self._failed(error) from None

    def __len__(self) -> int:
        """Requests that wait."""
        return sum(len(segment.waiting) for segment in self._segments)

    @property
    def nbytes(self) -> int:
        """Taken on the disk."""
        return sum(segment.nbytes for segment in self._segments)

    def put(self, request: Message) -> int:
        """Append a request that has one tensor; how many of the oldest went to make room for it.

        Raises:
            QueueError: The queue is full, or its disk is. The request is not in it.
        """
        (tensor,) = request.tensors
        n_bytes = OVERHEAD_BYTES + len(request.header) + len(tensor)
        try:
            dropped = self._make_room(n_bytes)
            if not self._segments or (
                self._segments[-1].nbytes and self._segments[-1].nbytes + n_bytes > self._most_bytes // SEGMENTS
            ):
                self._begin_segment()
            self._segments[-1].append(request.header, tensor)
        except OSError as error:
            raise self._failed(error) from None
        return dropped

    def first(self) -> Message:
        """The request that has waited longest. Raises QueueError, where the disk gives back something else."""
        try:
            return self._first().first()
        except OSError as error:
            raise self._failed(error) from None

    def done(self) -> None:
        """The first request need not be sent any more. Raises QueueError, where that cannot be written down."""
        try:
            segment = self._first()
            segment.done()
            if not segment.waiting and segment is not self._segments[-1]:
                self._delete(segment)
        except OSError as error:
            raise self._failed(error) from None

    def sync(self) -> None:
        """Return once all that waits is on the disk. Raises QueueError."""
        try:
            for segment in self._segments:
                segment.sync()
            if self._unsynced_names:
                folder = os.open(self.folder, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
                self._unsynced_names = False
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Let others use the folder. What waits, stays; the rest is nobody's to find."""
        for segment in list(self._segments):
            with contextlib.suppress(OSError):
                segment.close() if segment.waiting else self._delete(segment)
        self._lock.close()

    def _first(self) -> Segment:
        return next(segment for segment in self._segments if segment.waiting)

    def _open_segments(self) -> None:
        paths = sorted(self.folder.glob(f"*{SUFFIX}"))
        for path in paths:
            segment = Segment(path)
            self._segments.append(segment)
            if not segment.waiting:
                self._delete(segment)
        # Beyond all that there have been, so that the names stay in order.
        self._number = max((int(path.stem) for path in paths if path.stem.isdecimal()), default=0)

    def _begin_segment(self) -> None:
        if self._segments and not self._segments[-1].waiting:
            self._delete(self._segments[-1])
        self._number += 1
        self._segments.append(Segment(self.folder / f"{self._number:010}{SUFFIX}"))
        self._unsynced_names = True

    def _make_room(self, n_bytes: int) -> int:
        """Delete what may be deleted until there is room for so many bytes; how many waiting requests went with it."""
        if n_bytes > self._most_bytes:
            raise QueueError(
                f"A request of {n_bytes:,} bytes never fits a queue of {self._most_bytes:,}; raise --queue-mib."
            )
        dropped = 0
        while self.nbytes + n_bytes > self._most_bytes:
            oldest = self._segments[0]
            if oldest.waiting and not self._drop_oldest:
                raise QueueError(
                    f"The queue {self.folder} is full: {len(self):,} requests wait in {self.nbytes:,} bytes. Bring the "
                    "server back, raise --queue-mib, or let the oldest go with --queue-full drop-oldest."
                )
            dropped += len(oldest.waiting)
            self._delete(oldest)
        return dropped

    def _delete(self, segment: Segment) -> None:
        self._segments.remove(segment)
        segment.delete()

    def _failed(self, error: OSError) -> QueueError:
        reason = str(error.strerror).lower()
        return QueueError(
            f"The queue {self.folder} cannot be written: {reason}. Free some space, or name another folder; what was "
            "queued before is still there."
        )
