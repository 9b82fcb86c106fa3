"""One file of a queue: records are appended at its end and taken from its beginning.

A record is

    mark, CRC-32 of all that follows, length of the header, length of the tensor, header, tensor

with little-endian lengths of 4 and 8 bytes. The mark is ``cutq`` while the record waits, and ``cutd`` once it is done.
Marking a record changes one byte, which needs no space on a full disk and is atomic. A record with the mark ``cutr``
has no tensor; its header is the reason, in UTF-8, why the request after it was set aside.
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
from cutlayer.machine.files import open_regular, write_whole
from cutlayer.wire.codecs.base import MAX_TENSOR_BYTES, Buffer
from cutlayer.wire.message import MAX_HEADER_BYTES, Kind, Message

SUFFIX = ".queue"

_WAITS, _DONE, _REASON = b"cutq", b"cutd", b"cutr"
_PREFIX, _LENGTHS = struct.Struct("<4sI"), struct.Struct("<IQ")
OVERHEAD_BYTES = _PREFIX.size + _LENGTHS.size
"""Bytes of a record in addition to header and tensor."""

log = logging.getLogger("cutlayer.edge.offline.queue")


class Segment:
    """A segment, new or left by an earlier process. Close it after use.

    Args:
        path: The file. A half-written record at its end is cut off, a damaged record is skipped; both are logged.

    Attributes:
        nbytes: Size on the disk.
        waiting: Offsets of the requests that wait.
        reasons: Why requests were set aside, by their offsets; empty for most segments.

    Raises:
        OSError: The file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nbytes = 0
        self.waiting: deque[int] = deque()
        self.reasons: dict[int, str] = {}
        self._unsynced = False
        self._file: BinaryIO = open_regular(path, os.O_RDWR | os.O_CREAT, 0o600, buffering=0)
        try:
            self._scan()
        except BaseException:
            self.close()
            raise

    def append(self, header: bytes, tensor: Buffer, reason: str = "") -> None:
        """Write a request, which then waits, and why it was set aside. If it raises OSError, nothing was written."""
        records = [_record(_REASON, reason.encode(), b"")] if reason else []
        place = self.nbytes + sum(len(part) for record in records for part in record)
        records.append(_record(_WAITS, header, tensor))
        self._file.seek(self.nbytes)
        try:
            for record in records:
                for part in record:
                    write_whole(self._file, part)
        except OSError:
            self._file.truncate(self.nbytes)
            raise
        self.waiting.append(place)
        if reason:
            self.reasons[place] = reason
        self.nbytes = place + OVERHEAD_BYTES + len(header) + len(tensor)
        self._unsynced = True

    def read(self, offset: int) -> Message:
        """Return the waiting request at this offset. Raises QueueError if it has changed on the disk."""
        record = self._read(offset)
        if record is None:
            raise QueueError(f"{self.path} has changed on the disk; move it away to continue without its requests.")
        return record[1]

    def done(self, offset: int) -> None:
        """Mark the waiting request at this offset as done. Raises OSError."""
        self._file.seek(offset)
        write_whole(self._file, _DONE)
        self.waiting.remove(offset)
        self.reasons.pop(offset, None)

    def sync(self) -> None:
        """Return once all records are on the disk, safe from a power cut. Raises OSError."""
        if self._unsynced:
            os.fsync(self._file.fileno())
            self._unsynced = False

    def delete(self) -> None:
        """Delete the file with its records. Raises OSError."""
        self.close()
        self.path.unlink()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _scan(self) -> None:
        """Find the records, and cut off a half-written one at the end.

        Damaged bytes between records are skipped: a device that refused to start would lose all later requests.
        """
        size = self._file.seek(0, os.SEEK_END)
        reason = ""
        while self.nbytes < size:
            record = self._read(self.nbytes)
            if record is None:
                after = self._next_whole(size)
                log.warning(
                    "%s: %d bytes at %d are not a complete request", self.path, after - self.nbytes, self.nbytes
                )
                if after == size:
                    self._file.truncate(self.nbytes)
                    return
                self.nbytes, reason = after, ""
                continue
            mark, message = record
            if mark == _WAITS:
                self.waiting.append(self.nbytes)
                if reason:
                    self.reasons[self.nbytes] = reason
            reason = message.header.decode(errors="replace") if mark == _REASON else ""
            self.nbytes = self._file.tell()

    def _read(self, start: int) -> tuple[bytes, Message] | None:
        """Return the mark and the request of the record at this offset; None if there is no complete record."""
        self._file.seek(start)
        beginning = _read(self._file, OVERHEAD_BYTES)
        if len(beginning) < OVERHEAD_BYTES:
            return None
        mark, checksum = _PREFIX.unpack_from(beginning)
        header_bytes, tensor_bytes = _LENGTHS.unpack_from(beginning, _PREFIX.size)
        if mark not in (_WAITS, _DONE, _REASON) or header_bytes > MAX_HEADER_BYTES or tensor_bytes > MAX_TENSOR_BYTES:
            return None
        # Checked before memory is allocated, because a damaged length may exceed the memory of the device.
        if header_bytes + tensor_bytes > os.fstat(self._file.fileno()).st_size - start - OVERHEAD_BYTES:
            return None
        rest = memoryview(_read(self._file, header_bytes + tensor_bytes))
        if zlib.crc32(rest, zlib.crc32(beginning[_PREFIX.size :])) != checksum:
            return None
        return mark, Message(Kind.INFER, bytes(rest[:header_bytes]), (rest[header_bytes:],))

    def _next_whole(self, size: int) -> int:
        """Return the offset of the next complete record after damaged bytes, or the file's size if there is none."""
        self._file.seek(self.nbytes)
        rest = _read(self._file, size - self.nbytes)
        places = (self.nbytes + match.start() for match in re.finditer(b"cut[qdr]", rest))
        return next((place for place in places if self._read(place) is not None), size)


def _record(mark: bytes, header: bytes, tensor: Buffer) -> tuple[Buffer, Buffer, Buffer]:
    lengths = _LENGTHS.pack(len(header), len(tensor))
    checksum = zlib.crc32(tensor, zlib.crc32(header, zlib.crc32(lengths)))
    return _PREFIX.pack(mark, checksum) + lengths, header, tensor


def _read(file: BinaryIO, n_bytes: int) -> bytes:
    """Read this many bytes, or all up to the end of the file."""
    parts: list[bytes] = []
    while n_bytes and (part := file.read(n_bytes)):
        parts.append(part)
        n_bytes -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
