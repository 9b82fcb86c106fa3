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
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import opened, parse_json, reason
from cutlayer.errors import DataError, DecodeError, SplitError, WriteError
from cutlayer.machine.files import check_writable, open_regular, write_whole, writing
from cutlayer.machine.lock import only_one
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.codecs.packed import decode
from cutlayer.wire.message import MAX_HEADER_BYTES, Kind, Message, read_infer_request

BYTES, RECORDS = "tap.bin", "tap.jsonl"

MAX_KNOWN = 16_384
"""Number of last requests whose repetitions are recognized."""

MAX_UNWRITTEN_BYTES = 256 << 20
"""Backlog at which recording waits for the disk, so that the tap loses nothing."""

log = logging.getLogger("cutlayer.cloud.tap")


class Tap:
    """Writes requests into a folder, on a thread of its own. Close it to write the last records.

    Where the disk is full, the tap says so once, and writes again as soon as there is space.

    Args:
        folder: The folder, created if it is missing and continued otherwise.
        manifest: The split that is served, whose name and version stand in each record; those that the request states
            if left out.
        durable: Whether to give a record to the operating system before its answer leaves, so that a killed server
            loses no answered request. The answer takes that much longer, and a request that cannot be written is not
            answered.

    Attributes:
        unwritten_bytes: Bytes of the requests that wait for the disk.
        n_lost: Number of requests that could not be written.

    Raises:
        WriteError: The folder cannot be written.
        BusyError: Another server writes to it.
        DataError: It holds a tap that is damaged.
    """

    def __init__(self, folder: Path, manifest: Manifest | None = None, *, durable: bool = False) -> None:
        self.durable = durable
        self._split = None if manifest is None else (tail_name(manifest), manifest.version)
        self._folder = folder
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        check_writable(folder, "folder")
        with contextlib.ExitStack() as held, writing(folder):
            held.enter_context(only_one(folder, inside=True))
            headers = self._open()
            held.callback(self._close_files)
            for header in headers:
                self._know(_identity(header["owner"], header["id"]))
            self._held = held.pop_all()
        self._writing = threading.Lock()
        self._unwritten: deque[tuple[Message, str | None]] = deque()
        self.unwritten_bytes = 0
        self.n_lost = 0
        self._fails = self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="tap", daemon=True)
        self._thread.start()

    def record_now(self, request: Message, owner: str | None = None) -> None:
        """Write the tensors of an inference request at once. See `cutlayer.cloud.job.owner`.

        Raises:
            WriteError: They could not be written, and nothing of them is left; or the tap was damaged meanwhile.
        """
        with self._writing:
            try:
                if self._fails:
                    # Cuts off a half-written record, so that the next one refers to the right bytes.
                    self._close_files()
                    self._open()
                self.write(request, owner)
            except DecodeError:
                log.info("a request that could not be read is not in the tap")
            except (OSError, DataError) as error:
                # Who frees space may have cut off the tap itself.
                unwritten = WriteError.of(self._folder, error) if isinstance(error, OSError) else WriteError(str(error))
                if not self._fails:
                    promise = "such requests are refused" if self.durable else "requests are answered all the same"
                    log.warning("the tap has stopped: %s Until then %s.", unwritten, promise)
                self._fails = True
                self.n_lost += 1
                raise unwritten from error
            else:
                if self._fails:
                    log.warning("the tap goes on; it lacks %d requests so far", self.n_lost)
                self._fails = False

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
        self._held.close()
        if self.n_lost:
            log.warning("the tap %s lacks %d requests, which could not be written", self._folder, self.n_lost)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unwritten or self._closed)
                if not self._unwritten:
                    return
                request, owner = self._unwritten.popleft()
            with contextlib.suppress(WriteError):  # said and counted
                self.record_now(request, owner)
            with self._changed:
                self.unwritten_bytes -= request.nbytes
                self._changed.notify_all()

    def write(self, request: Message, owner: str | None = None) -> None:
        """Append one request, its bytes first, so that a record never refers to missing bytes. Raises OSError."""
        inference = read_infer_request(request)
        identity = _identity(owner, inference.id)
        if identity in self._known:
            return
        model, version = self._split or (inference.model, inference.version)
        for name, tensor in inference.tensors.items():
            write_whole(self._bytes, tensor.data)
            header = {
                "id": inference.id,
                "name": name,
                "model": model,
                "version": version,
                **{parameter: inference.parameters.get(parameter) for parameter in ("session", "defense")},
                "owner": owner,
                "datatype": tensor.datatype,
                "shape": tensor.shape,
                "parameters": tensor.parameters,
                "offset": self._offset,
                "length": len(tensor.data),
            }
            write_whole(self._records, json.dumps(header).encode() + b"\n")
            self._offset += len(tensor.data)
        self._know(identity)

    def _open(self) -> list[dict[str, Any]]:
        """Open both files after their last complete record; return the last headers. Raises OSError."""
        self._offset, headers = _drop_torn_record(self._folder)
        # Unbuffered: what a full disk refuses is not written by a later close.
        self._bytes, self._records = (_opened(self._folder / name, os.O_APPEND) for name in (BYTES, RECORDS))
        return headers

    def _close_files(self) -> None:
        for file in (self._bytes, self._records):
            with contextlib.suppress(OSError):
                file.close()

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

    The header names the split that was served, by ``model`` and ``version``; both are empty in older taps.

    What was sent beside it, such as an input of the tail, is in the tap too, and is not the smashed data.
    An incomplete last record, of a server that was killed, is skipped.

    Raises:
        DataError: The folder holds no tap, or the tap is damaged before its end.
    """
    return ((header, smashed) for _, header, smashed in read_from(folder, Place()))


class Place(NamedTuple):
    """How far a tap that grows was read.

    Attributes:
        offset: Bytes of `tap.jsonl`.
        n_lines: Lines in them.
    """

    offset: int = 0
    n_lines: int = 0


def place_of_last(folder: Path, n: int) -> Place:
    """The place behind which a tap has its last n lines, or fewer.

    Raises:
        DataError: The folder holds no tap.
    """
    places = deque([Place()], maxlen=n + 1)
    try:
        for line in _lines(folder / RECORDS):
            places.append(Place(places[-1].offset + len(line), places[-1].n_lines + 1))
    except OSError as error:
        raise DataError(f"{folder} holds no tap that can be read: {reason(error)}.") from None
    return places[0]


def read_from(folder: Path, place: Place) -> Iterator[tuple[Place, dict[str, Any], NDArray[np.float32]]]:
    """Yield what `read` yields, from a place on, each after the place behind it. Raises DataError."""
    try:
        with opened(folder / BYTES) as file:
            data = np.memmap(file, np.uint8, "r") if os.fstat(file.fileno()).st_size else np.empty(0, np.uint8)
        for line in _lines(folder / RECORDS, place.offset):
            number = place.n_lines + 1
            place = Place(place.offset + len(line), number)
            header = _header(line, folder / RECORDS, number)
            if header["name"] != "smashed":
                continue
            start, length = header["offset"], header["length"]
            if start + length > len(data):
                raise DataError(f"{folder / BYTES} ends before the bytes of line {number} of {RECORDS}.")
            tensor = Encoded(
                header["datatype"], tuple(header["shape"]), data[start : start + length].data, header["parameters"]
            )
            try:
                yield place, header, decode(tensor)
            except (DecodeError, ValueError, TypeError) as error:
                raise DataError(f"{folder / RECORDS} is damaged in line {number}: {error}.") from None
    except OSError as error:
        raise DataError(f"{folder} holds no tap that can be read: {reason(error)}.") from None


def check_split(folder: Path, header: Mapping[str, Any], manifest: Manifest) -> None:
    """Refuse a record of a request that was sent to the tail of another split. Raises SplitError."""
    if header["version"] not in ("", manifest.version):
        raise SplitError(
            f"The tap {folder} was recorded for {header['model']}, version {header['version']}, and the split folder "
            f"is {tail_name(manifest)}, version {manifest.version}; name the split folder that was served."
        )


_MOST_HEADER_BYTES = 8 * MAX_HEADER_BYTES
"""The longest line that is read; JSON writes a byte of a header as six at most."""
_KINDS = {
    "id": str, "name": str, "model": str, "version": str, "owner": str | None, "datatype": str, "shape": list,
    "parameters": dict, "offset": int, "length": int,
}  # fmt: skip
"""What a line of `tap.jsonl` holds."""


def _lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """The complete lines of a file. A longer one than any that is written comes in pieces, which are no records."""
    with opened(path) as file:
        file.seek(offset)
        while (line := file.readline(_MOST_HEADER_BYTES)).endswith(b"\n") or len(line) == _MOST_HEADER_BYTES:
            yield line


def _header(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """The header in a line.

    Raises:
        DataError: It is damaged.
    """
    try:
        header = parse_json(line)
        if not isinstance(header, dict):
            raise ValueError("it is no table")
        header = {"owner": None, "model": "", "version": "", **header}  # which older taps lack
        for name, kind in _KINDS.items():
            if not isinstance(header[name], kind) or isinstance(header[name], bool):
                raise ValueError(f"{name} is {header[name]!r:.80}")
        if min(header["offset"], header["length"]) < 0 or not all(type(axis) is int for axis in header["shape"]):
            raise ValueError("a place or a length is no number of bytes")
    except (ValueError, KeyError) as error:
        raise DataError(f"{path} is damaged in line {number}: {reason(error)}.") from None
    return header


def _drop_torn_record(folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """Cut off an incomplete last record; return the offset of the next bytes, and the headers of the last records.

    Raises:
        DataError: The tap is damaged before its end, so that nothing may be added to it.
        OSError: A file cannot be read or written.
    """
    records, data = folder / RECORDS, folder / BYTES
    if not records.exists() or not data.exists():
        for path in (records, data):
            with _opened(path) as file:
                file.truncate(0)
        return 0, []
    complete, n_lines = 0, 0
    last: deque[bytes] = deque(maxlen=MAX_KNOWN)
    for line in _lines(records):
        complete, n_lines = complete + len(line), n_lines + 1
        last.append(line)
    try:
        headers = [_header(line, records, n_lines - len(last) + number) for number, line in enumerate(last, 1)]
        end = headers[-1]["offset"] + headers[-1]["length"] if headers else 0
        with opened(data) as file:
            if os.fstat(file.fileno()).st_size < end:
                raise DataError(f"{data} ends before the bytes of the last line of {RECORDS}.")
    except DataError as error:
        raise DataError(f"{error} Name another folder with --tap, or move this one away.") from None
    for path, size in ((records, complete), (data, end)):
        with _opened(path) as file:
            file.truncate(size)
    return end, headers


def _opened(path: Path, how: int = 0) -> BinaryIO:
    """One of the two files, made if it is missing; never through a link, whose target would be cut off."""
    return open_regular(path, os.O_RDWR | os.O_CREAT | how, buffering=0)
