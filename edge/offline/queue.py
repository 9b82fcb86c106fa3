"""A bounded queue of released requests on disk: first in, first out, and intact after kill -9.

Once `Queue.put` returns, the operating system has the request, and killing the process loses nothing. After
`Queue.sync` the request is on the disk, and a power cut loses nothing either. Requests answered shortly before a power
cut may be sent again with the same id, by which the server recognizes them.

A request that is given up is moved to a queue of the same kind in the folder `set-aside` of the queue, with the reason.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from cutlayer.edge.offline.segment import OVERHEAD_BYTES, SUFFIX, Segment
from cutlayer.errors import BusyError, QueueError, WriteError
from cutlayer.machine.lock import only_one
from cutlayer.wire.message import Message

SEGMENTS = 16
"""Approximate number of segments of a full queue. Space is freed one segment at a time."""

SET_ASIDE = "set-aside"
"""Folder in that of a queue: the queue of the requests that were given up."""


class Place(NamedTuple):
    """The place of a request on the disk."""

    segment: Segment
    offset: int


class Queue:
    """The queue in one folder, for one process. Any thread may use it. Close it after use.

    Args:
        folder: Folder of the queue, created if it is missing.
        most_bytes: Limit of its size on the disk, with sent requests that are not deleted yet.
        drop_oldest: Whether a full queue drops its oldest segment; otherwise it refuses the new request.

    Raises:
        QueueError: The folder is in use, or cannot be written.
    """

    def __init__(self, folder: Path, most_bytes: int, *, drop_oldest: bool = False) -> None:
        self.folder, self._most_bytes, self._drop_oldest = folder, most_bytes, drop_oldest
        self._segments: deque[Segment] = deque()
        self._number = 0
        self._unsynced_names = False
        self._aside: Queue | None = None
        self._using = threading.Lock()
        with self._disk(), contextlib.ExitStack() as opened:
            opened.enter_context(only_one(folder, inside=True))
            opened.callback(self._close_segments)
            self._open_segments()
            self._opened = opened.pop_all()

    def __len__(self) -> int:
        """Number of waiting requests."""
        with self._using:
            return self._waiting()

    @property
    def nbytes(self) -> int:
        """Size on the disk, in bytes."""
        return sum(segment.nbytes for segment in self._segments)

    @property
    def reasons(self) -> list[str]:
        """Why the waiting requests were set aside, in their order; empty for a queue of others."""
        return [reason for segment in self._segments for reason in segment.reasons.values()]

    def put(self, request: Message, reason: str = "") -> tuple[Place, int]:
        """Append a request that has one tensor; return its place, and the number of old requests dropped for it.

        Args:
            request: The request.
            reason: Why it was set aside, if it was.

        Raises:
            QueueError: The queue or its disk is full. The request was not added.
        """
        (tensor,) = request.tensors
        n_bytes = OVERHEAD_BYTES + len(request.header) + len(tensor)
        n_bytes += OVERHEAD_BYTES + len(reason.encode()) if reason else 0
        with self._disk():
            dropped = self._make_room(n_bytes)
            if not self._segments or (
                self._segments[-1].nbytes and self._segments[-1].nbytes + n_bytes > self._most_bytes // SEGMENTS
            ):
                self._begin_segment()
            segment = self._segments[-1]
            segment.append(request.header, tensor, reason)
        return Place(segment, segment.waiting[-1]), dropped

    def first(self, passed: Collection[Place] = ()) -> tuple[Place, Message]:
        """Return the oldest waiting request that is none of `passed`, and its place; there must be one.

        Raises:
            QueueError: It has changed on the disk.
        """
        with self._disk():
            places = (Place(segment, offset) for segment in self._segments for offset in segment.waiting)
            place = next(place for place in places if place not in passed)
            return place, place.segment.read(place.offset)

    def holds(self, place: Place) -> bool:
        """Return whether the request at this place waits; a full queue may have dropped it."""
        with self._using:
            return self._holds(place)

    def done(self, place: Place) -> bool:
        """Mark a waiting request as sent; return False if a full queue has dropped it in the meantime.

        Raises:
            QueueError: It cannot be written.
        """
        with self._disk():
            if not self._holds(place):
                return False
            segment, offset = place
            segment.done(offset)
            if not segment.waiting and segment is not self._segments[-1]:
                self._delete(segment)
            return True

    def set_aside(self, place: Place, reason: str) -> tuple[bool, int]:
        """Move a waiting request to the queue in the folder `set-aside`, which has the same limit.

        A process that is killed meanwhile leaves it in both.

        Returns:
            False if a full queue has dropped the request in the meantime, and the number of those that were set aside
            earlier and are dropped for it.

        Raises:
            QueueError: It cannot be written, or the other queue is full. The request still waits.
        """
        with self._disk():
            if not self._holds(place):
                return False, 0
            request = place.segment.read(place.offset)
        if self._aside is None:
            self._aside = Queue(self.folder / SET_ASIDE, self._most_bytes, drop_oldest=self._drop_oldest)
        _, dropped = self._aside.put(request, reason)
        self._aside.sync()
        return self.done(place), dropped

    def sync(self) -> None:
        """Return once all waiting requests are on the disk. Raises QueueError."""
        with self._disk():
            for segment in self._segments:
                segment.sync()
            if self._unsynced_names:
                folder = os.open(self.folder, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
                self._unsynced_names = False

    def close(self) -> None:
        """Unlock the folder. Waiting requests stay in it, and segments without any are deleted."""
        self._opened.close()

    def _close_segments(self) -> None:
        for segment in list(self._segments):
            with contextlib.suppress(OSError):
                segment.close() if segment.waiting else self._delete(segment)
        if self._aside is not None:
            self._aside.close()

    def _holds(self, place: Place) -> bool:
        return place.segment in self._segments and place.offset in place.segment.waiting

    def _waiting(self) -> int:
        return sum(len(segment.waiting) for segment in self._segments)

    def _open_segments(self) -> None:
        paths = sorted(self.folder.glob(f"*{SUFFIX}"))
        for path in paths:
            segment = Segment(path)
            self._segments.append(segment)
            if not segment.waiting:
                self._delete(segment)
        # Higher than all numbers before, so that the names stay in order.
        self._number = max((int(path.stem) for path in paths if path.stem.isdecimal()), default=0)

    def _begin_segment(self) -> None:
        if self._segments and not self._segments[-1].waiting:
            self._delete(self._segments[-1])
        self._number += 1
        self._segments.append(Segment(self.folder / f"{self._number:010}{SUFFIX}"))
        self._unsynced_names = True

    def _make_room(self, n_bytes: int) -> int:
        """Delete segments until there is room for this many bytes; return the number of waiting requests dropped."""
        if n_bytes > self._most_bytes:
            raise QueueError(
                f"A request of {n_bytes:,} bytes does not fit into a queue of {self._most_bytes:,}; raise --queue-mib."
            )
        dropped = 0
        while self.nbytes + n_bytes > self._most_bytes:
            oldest = self._segments[0]
            if oldest.waiting and not self._drop_oldest:
                raise QueueError(
                    f"The queue {self.folder} is full: {self._waiting():,} requests wait in {self.nbytes:,} bytes. "
                    "Start the server, raise --queue-mib, or drop the oldest requests with --queue-full drop-oldest."
                )
            dropped += len(oldest.waiting)
            self._delete(oldest)
        return dropped

    def _delete(self, segment: Segment) -> None:
        self._segments.remove(segment)
        segment.delete()

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Hold the lock, and raise QueueError for an error of the disk."""
        try:
            with self._using:
                yield
        except (BusyError, WriteError) as error:
            raise QueueError(f"The queue cannot be used. {error}") from None
        except OSError as error:
            raise QueueError(
                f"The queue {self.folder} cannot be written: {str(error.strerror).lower()}. Free some space, or name "
                "another folder; requests queued before are still there."
            ) from None
