"""One file of a queue: records that are appended, and taken from the beginning.

A record is

    mark, CRC-32 of all that follows, length of the header, length of the tensor, header, tensor

with little-endian lengths of 4 and 8 bytes. The mark is ``cutq`` of one that waits and ``cutd`` of one that need not be
sent any more: changing one byte takes no space on a disk that is full, and cannot happen by halves.
"""

from __future__ import annotations

import logging
import os
import re
import struct
import zlib
from collections import deque
from pathlib import Path
from typing import BinaryIO

from cutlayer.errors import QueueError
from cutlayer.wire.codecs.base import MAX_TENSOR_BYTES, Buffer
from cutlayer.wire.message import MAX_HEADER_BYTES, Kind, Message

SUFFIX = ".queue"

_WAITS, _DONE = b"cutq", b"cutd"
_PREFIX, _LENGTHS = struct.Struct("<4sI"), struct.Struct("<IQ")
OVERHEAD_BYTES = _PREFIX.size + _LENGTHS.size
"""Of a record, beside header and tensor."""

log = logging.getLogger("edge.offline.queue")


class Segment:
    """A segment that is new, or was left by an earlier process. Close it.

    Args:
        path: The file. A half-written record at its end is cut off, a damaged one before it passed over; both are
            logged.

    Attributes:
        nbytes: On the disk.
        waiting: Where the records begin that are to be sent.

    Raises:
        OSError: It cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nbytes = 0
        self.waiting: deque[int] = deque()
        self._unsynced = False
        self._file: BinaryIO = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
        try:
            self._scan()
        except BaseException:
            self.close()
            raise

    def append(self, header: bytes, tensor: Buffer) -> None:
        """Write a record; it waits from now on. Raises OSError, and then nothing was written."""
        lengths = _LENGTHS.pack(len(header), len(tensor))
        checksum = zlib.crc32(tensor, zlib.crc32(header, zlib.crc32(lengths)))
        self._file.seek(self.nbytes)
        try:
            for part in (_PREFIX.pack(_WAITS, checksum) + lengths, header, tensor):
                _write(self._file, part)
        except OSError:
            self._file.truncate(self.nbytes)
            raise
        self.waiting.append(self.nbytes)
        self.nbytes += OVERHEAD_BYTES + len(header) + len(tensor)
        self._unsynced = True

    def first(self) -> Message:
        """The request that has waited longest. Raises QueueError, where the disk gives back something else."""
        record = self._read(self.waiting[0])
        if record is None:
            raise QueueError(f"{self.path} has changed on the disk; move it away to go on without what waits in it.")
        return record[1]

    def done(self) -> None:
        """The first request need not be sent any more. Raises OSError."""
        self._file.seek(self.waiting[0])
        _write(self._file, _DONE)
        self.waiting.popleft()

    def sync(self) -> None:
        """Return once what was appended is on the disk, whatever happens to the power. Raises OSError."""
        if self._unsynced:
            os.fsync(self._file.fileno())
            self._unsynced = False

    def delete(self) -> None:
        """Delete the file, whatever is in it. Raises OSError."""
        self.close()
        self.path.unlink()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _scan(self) -> None:
        """Find the records; cut off what is half-written behind the last one.

        What is damaged between them is passed over, for a device that did not start would lose all that is to come.
        """
        size = self._file.seek(0, os.SEEK_END)
        while self.nbytes < size:
            record = self._read(self.nbytes)
            if record is None:
                after = self._next_whole(size)
                log.warning("%s: %d bytes at %d are no whole request", self.path, after - self.nbytes, self.nbytes)
                if after == size:
                    self._file.truncate(self.nbytes)
                    return
                self.nbytes = after
                continue
            mark, _ = record
            if mark == _WAITS:
                self.waiting.append(self.nbytes)
            self.nbytes = self._file.tell()

    def _read(self, start: int) -> tuple[bytes, Message] | None:
        """The mark and the request of the record that begins there; None where there is no whole one."""
        self._file.seek(start)
        beginning = _read(self._file, OVERHEAD_BYTES)
        if len(beginning) < OVERHEAD_BYTES:
            return None
        mark, checksum = _PREFIX.unpack_from(beginning)
        header_bytes, tensor_bytes = _LENGTHS.unpack_from(beginning, _PREFIX.size)
        if mark not in (_WAITS, _DONE) or header_bytes > MAX_HEADER_BYTES or tensor_bytes > MAX_TENSOR_BYTES:
            return None
        # Before any memory is taken for it: what a damaged length says may be more than the device has.
        if header_bytes + tensor_bytes > os.fstat(self._file.fileno()).st_size - start - OVERHEAD_BYTES:
            return None
        rest = memoryview(_read(self._file, header_bytes + tensor_bytes))
        if zlib.crc32(rest, zlib.crc32(beginning[_PREFIX.size :])) != checksum:
            return None
        return mark, Message(Kind.INFER, bytes(rest[:header_bytes]), (rest[header_bytes:],))

    def _next_whole(self, size: int) -> int:
        """Where the next record begins behind what is none; the file's size where none does."""
        self._file.seek(self.nbytes)
        rest = _read(self._file, size - self.nbytes)
        places = (self.nbytes + match.start() for match in re.finditer(b"cut[qd]", rest))
        return next((place for place in places if self._read(place) is not None), size)


def _write(file: BinaryIO, data: Buffer) -> None:
    """All of it: an unbuffered file may take less at a time."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _read(file: BinaryIO, n_bytes: int) -> bytes:
    """So many bytes, or those that there are."""
    parts: list[bytes] = []
    while n_bytes and (part := file.read(n_bytes)):
        parts.append(part)
        n_bytes -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
