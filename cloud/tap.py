"""The smashed data as it arrived: the only data of the victims that an attacker reads.

A tap is a folder with two append-only files: `tap.bin` holds the bytes of each tensor, and `tap.jsonl` one line for
each, with the place of its bytes and their encoding. Nothing is copied or written before the reply has left, unless
the tap is durable.

A request that was sent twice, because its answer was lost, is in the tap once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import DataError, DecodeError
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.codecs.packed import decode
from cutlayer.wire.message import Kind, Message, read_infer_request

BYTES, RECORDS = "tap.bin", "tap.jsonl"

MAX_KNOWN = 16_384
"""Number of last requests whose repetitions are recognized."""

MAX_UNWRITTEN_BYTES = 256 << 20
"""Backlog at which recording waits for the disk, so that the tap loses nothing."""

log = logging.getLogger("cutlayer.cloud.tap")


class Tap:
    """Writes requests into a folder, on a thread of its own. Close it to write the last records.

    Args:
        folder: The folder, created if it is missing and continued otherwise.
        durable: Whether to give a record to the operating system before its answer leaves, so that a killed server
            loses no answered request. The answer takes that much longer.

    Attributes:
        unwritten_bytes: Bytes of the requests that wait for the disk.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.durable = durable
        self._folder = folder
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        for line in self._open()[-MAX_KNOWN:]:
            header = json.loads(line)
            self._know(_identity(header.get("owner"), header["id"]))
        self._writing = threading.Lock()
        self._unwritten: deque[tuple[Message, str | None]] = deque()
        self.unwritten_bytes = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="tap", daemon=True)
        self._thread.start()

    def record_now(self, request: Message, owner: str | None = None) -> None:
        """Write the tensors of an inference request at once. See `cutlayer.cloud.job.owner`."""
        try:
            with self._writing:
                self.write(request, owner)
        except DecodeError:
            log.info("a request that could not be read is not in the tap")
        except (OSError, ValueError):
            # ValueError: the files are closed, because opening them again has failed before.
            log.exception("the tap lost a record")
            with contextlib.suppress(OSError), self._writing:
                self._reopen()

    def record(self, request: Message, owner: str | None = None) -> None:
        """Queue the tensors of an inference request; other messages hold no smashed data."""
        if request.kind is not Kind.INFER:
            return
        with self._changed:
            if self.unwritten_bytes > MAX_UNWRITTEN_BYTES:
                log.warning("the tap's disk is slower than the network; requests now wait for it")
                self._changed.wait_for(lambda: self.unwritten_bytes <= MAX_UNWRITTEN_BYTES)
            self._unwritten.append((request, owner))
            self.unwritten_bytes += request.nbytes
            self._changed.notify_all()

    def close(self) -> None:
        """Write the remaining requests and close the files."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._bytes.close()
        self._records.close()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unwritten or self._closed)
                if not self._unwritten:
                    return
                request, owner = self._unwritten.popleft()
            self.record_now(request, owner)
            with self._changed:
                self.unwritten_bytes -= request.nbytes
                self._changed.notify_all()

    def write(self, request: Message, owner: str | None = None) -> None:
        """Append one request, its bytes first, so that a record never refers to missing bytes."""
        inference = read_infer_request(request)
        identity = _identity(owner, inference.id)
        if identity in self._known:
            return
        for name, tensor in inference.tensors.items():
            self._bytes.write(tensor.data)
            self._bytes.flush()
            header = {
                "id": inference.id,
                "name": name,
                **{parameter: inference.parameters.get(parameter) for parameter in ("session", "defense")},
                "owner": owner,
                "datatype": tensor.datatype,
                "shape": tensor.shape,
                "parameters": tensor.parameters,
                "offset": self._offset,
                "length": len(tensor.data),
            }
            self._records.write(json.dumps(header) + "\n")
            self._records.flush()
            self._offset += len(tensor.data)
        self._know(identity)

    def _open(self) -> list[bytes]:
        """Open both files after their last complete record; return the records."""
        self._offset, lines = _drop_torn_record(self._folder)
        self._bytes = (self._folder / BYTES).open("ab")
        self._records = (self._folder / RECORDS).open("a", encoding="utf-8")
        return lines

    def _reopen(self) -> None:
        """Cut off a half-written record, so that the next record refers to the right bytes."""
        for file in (self._bytes, self._records):
            with contextlib.suppress(OSError):
                file.close()
        self._open()

    def _know(self, identity: tuple[str, str] | None) -> None:
        if identity is not None:
            self._known[identity] = None
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)


def _identity(owner: object, request_id: str) -> tuple[str, str] | None:
    """Return what recognizes a repeated request; None if it has no owner or no id, so that each one is a new one."""
    return (owner, request_id) if isinstance(owner, str) and request_id else None


def read(folder: Path) -> Iterator[tuple[dict[str, Any], NDArray[np.float32]]]:
    """Yield the header and the decoded smashed data of each record, in the order of arrival.

    What was sent beside it, such as an input of the tail, is in the tap too, and is not the smashed data.
    An incomplete last record, of a server that was killed, is skipped.

    Raises:
        DataError: The folder holds no tap, or the tap is damaged before its end.
    """
    try:
        lines = (folder / RECORDS).read_bytes().split(b"\n")
        data = np.memmap(folder / BYTES, np.uint8, "r") if (folder / BYTES).stat().st_size else np.empty(0, np.uint8)
    except OSError as error:
        raise DataError(f"{folder} holds no tap: {error}.") from None
    for number, line in enumerate(lines[:-1], 1):
        try:
            header = json.loads(line)
            start, length = header["offset"], header["length"]
            if header["name"] != "smashed":
                continue
            tensor = Encoded(
                header["datatype"], tuple(header["shape"]), data[start : start + length].data, header["parameters"]
            )
            yield header, decode(tensor)
        except (ValueError, KeyError, TypeError, DecodeError) as error:
            raise DataError(f"{folder / RECORDS} is damaged in line {number}: {error}.") from None


def _drop_torn_record(folder: Path) -> tuple[int, list[bytes]]:
    """Cut off an incomplete last record; return the offset of the next bytes, and the complete records."""
    records, data = folder / RECORDS, folder / BYTES
    if not records.exists() or not data.exists():
        records.write_bytes(b"")
        data.write_bytes(b"")
        return 0, []
    text = records.read_bytes()
    complete = text[: text.rfind(b"\n") + 1]
    lines = complete.splitlines()
    end = sum(json.loads(lines[-1])[field] for field in ("offset", "length")) if lines else 0
    for path, size in ((records, len(complete)), (data, end)):
        with path.open("r+b") as file:
            file.truncate(size)
    return end, lines
