"""What arrived, kept as it arrived: the attacker reads this and nothing else.

A tap is a folder with two append-only files: `tap.bin` holds the bytes of each tensor, `tap.jsonl` one line for each,
with where its bytes are and how to decode them. Nothing is copied or written before the reply has left, unless the
tap is to be durable.

A request that was sent again, because its answer was lost, is in the tap once.
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

from cloud.job import key
from cutlayer.errors import DataError, DecodeError
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.codecs.packed import decode
from cutlayer.wire.message import Kind, Message, read_infer_request

BYTES, RECORDS = "tap.bin", "tap.jsonl"

MAX_KNOWN = 16_384
"""Requests, the last ones written, that are known when they come again."""

MAX_UNWRITTEN_BYTES = 256 << 20
"""When the disk is this far behind, recording waits for it: a tap loses nothing."""

log = logging.getLogger("cloud.tap")


class Tap:
    """Writes what arrives into a folder, on a thread of its own. Close it, or its last records may be missing.

    Args:
        folder: Made where it is missing, continued where it is not.
        durable: A record is with the operating system before its answer leaves, so that killing the server loses none
            that was answered. That time is part of the answer's.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.durable = durable
        self._folder = folder
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        for line in self._open()[-MAX_KNOWN:]:
            header = json.loads(line)
            self._know(key(header.get("session"), header["id"]))
        self._writing = threading.Lock()
        self._unwritten: deque[Message] = deque()
        self._unwritten_bytes = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="tap", daemon=True)
        self._thread.start()

    @property
    def unwritten_bytes(self) -> int:
        """Of requests that wait for the disk."""
        return self._unwritten_bytes

    def record_now(self, request: Message) -> None:
        """Keep the tensors of an inference request before this returns."""
        try:
            with self._writing:
                self.write(request)
        except DecodeError:
            log.info("a request that could not be read is not in the tap")
        except (OSError, ValueError):
            # A ValueError where the files could not be opened again the last time.
            log.exception("the tap lost a record")
            with contextlib.suppress(OSError), self._writing:
                self._reopen()

    def record(self, request: Message) -> None:
        """Keep the tensors of an inference request; other messages are no smashed data."""
        if request.kind is not Kind.INFER:
            return
        with self._changed:
            if self._unwritten_bytes > MAX_UNWRITTEN_BYTES:
                log.warning("the tap's disk is slower than the network: requests wait for it from here on")
                self._changed.wait_for(lambda: self._unwritten_bytes <= MAX_UNWRITTEN_BYTES)
            self._unwritten.append(request)
            self._unwritten_bytes += request.nbytes
            self._changed.notify_all()

    def close(self) -> None:
        """Write what is left and close the files."""
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
                request = self._unwritten.popleft()
            self.record_now(request)
            with self._changed:
                self._unwritten_bytes -= request.nbytes
                self._changed.notify_all()

    def write(self, request: Message) -> None:
        """Append one request: its bytes first, so that a record never points at bytes that are not there."""
        inference = read_infer_request(request)
        known_as = key(inference.parameters.get("session"), inference.id)
        if known_as in self._known:
            return
        for name, tensor in inference.tensors.items():
            self._bytes.write(tensor.data)
            self._bytes.flush()
            header = {
                "id": inference.id,
                "name": name,
                **{parameter: inference.parameters.get(parameter) for parameter in ("session", "defense")},
                "datatype": tensor.datatype,
                "shape": tensor.shape,
                "parameters": tensor.parameters,
                "offset": self._offset,
                "length": len(tensor.data),
            }
            self._records.write(json.dumps(header) + "\n")
            self._records.flush()
            self._offset += len(tensor.data)
        self._know(known_as)

    def _open(self) -> list[bytes]:
        """Open both files behind their last whole record; the records that are there."""
        self._offset, lines = _drop_torn_record(self._folder)
        self._bytes = (self._folder / BYTES).open("ab")
        self._records = (self._folder / RECORDS).open("a", encoding="utf-8")
        return lines

    def _reopen(self) -> None:
        """Give up what was half-written, or the next record would say that its bytes are where others lie."""
        for file in (self._bytes, self._records):
            with contextlib.suppress(OSError):
                file.close()
        self._open()

    def _know(self, name: tuple[str, str] | None) -> None:
        if name is not None:
            self._known[name] = None
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)


def read(folder: Path) -> Iterator[tuple[dict[str, Any], NDArray[np.float32]]]:
    """The header and the decoded smashed data of each record, in the order of arrival.

    A last record that was being written when the server was killed is left out.

    Raises:
        DataError: The folder holds no tap, or one that is damaged elsewhere than at its end.
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
            tensor = Encoded(
                header["datatype"], tuple(header["shape"]), data[start : start + length].data, header["parameters"]
            )
            yield header, decode(tensor)
        except (ValueError, KeyError, TypeError, DecodeError) as error:
            raise DataError(f"{folder / RECORDS} is damaged in line {number}: {error}.") from None


def _drop_torn_record(folder: Path) -> tuple[int, list[bytes]]:
    """Cut off what a killed server left half-written; where the next bytes go, and the records that are there."""
    records, data = folder / RECORDS, folder / BYTES
    if not records.exists() or not data.exists():
        records.write_bytes(b"")
        data.write_bytes(b"")
        return 0, []
    text = records.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    lines = whole.splitlines()
    end = sum(json.loads(lines[-1])[field] for field in ("offset", "length")) if lines else 0
    for path, size in ((records, len(whole)), (data, end)):
        with path.open("r+b") as file:
            file.truncate(size)
    return end, lines
