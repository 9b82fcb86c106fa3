"""Reading files within bounds, whatever lies at the path: no waiting at a named pipe, no device, no endless file.

What is read may be damaged, foreign or hostile. A claim in it, such as the shape of an array, is compared with the size
of the file before memory is taken for it. Every function raises OSError where there is no file that can be read, and
ValueError, with the reason as its text, where its content is not what it should be; `reason` words both.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

MOST_JSON_BYTES = 64 << 20
MOST_TEXT_BYTES = 4 << 20
"""The limit of a plan, a key, a certificate or another file that a person writes."""
MOST_ARRAYS_BYTES = 8 << 30
"""The limit of all arrays in an .npz file together, unpacked."""
MOST_ARRAYS = 10_000
MOST_DEPTH = 64
"""Lists and tables within each other in a JSON file."""

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_PACKED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_ENCRYPTED = 1


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """The file at a path, opened for reading. Links are followed; what they lead to has to be a file.

    Raises:
        OSError: There is nothing, or a folder, a pipe, a socket or a device, or it may not be read.
    """
    # Opening a pipe would wait for one who writes into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, and no file", str(path))
        file = os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
    with file:
        yield file


def check_regular(path: Path) -> None:
    """Raise OSError unless there is a file at the path; for readers that open it themselves."""
    with opened(path):
        pass


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """The content of a file of at most so many bytes."""
    with opened(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it is larger than {_size(most_bytes)}")
    return content


def read_text(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """The content of a text file in UTF-8, without the byte order mark that Windows may write."""
    return decoded(read_bytes(path, most_bytes))


def decoded(content: bytes) -> str:
    """Text in UTF-8, without a byte order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise ValueError("it has a byte order mark of UTF-16; save it as UTF-8") from None
        raise ValueError(f"byte {error.start} is no UTF-8; save it as UTF-8") from None


def read_json(path: Path, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """The content of a JSON file.

    Older versions of cutlayer have written NaN and Infinity, which are no JSON; they are read as such.
    """
    return parse_json(read_bytes(path, most_bytes))


def parse_json(content: bytes) -> Any:
    """The value of a JSON text, in which lists and tables are at most `MOST_DEPTH` deep."""
    try:
        value = json.loads(decoded(content))
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error}") from None
    level, depth = [value], 0
    while level := [
        inner
        for outer in level
        if isinstance(outer, dict | list)
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        depth += 1
        if depth > MOST_DEPTH:
            raise ValueError(_TOO_DEEP)
    return value


_TOO_DEEP = f"it is nested more than {MOST_DEPTH} deep"


def read_arrays(path: Path, most_bytes: int = MOST_ARRAYS_BYTES) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file by name. Nothing is unpickled, and no array is larger than the file has bytes for it.

    Args:
        path: The file.
        most_bytes: Limit of all arrays together.
    """
    arrays = {}
    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MOST_ARRAYS:
                raise ValueError(f"it holds {len(members):,} arrays, and at most {MOST_ARRAYS:,} are read")
            if (total := sum(member.file_size for member in members)) > most_bytes:
                raise ValueError(f"its arrays take {_size(total)} by its list; at most {_size(most_bytes)} are read")
            for member in members:
                if member.compress_type not in _PACKED or member.flag_bits & _ENCRYPTED:
                    raise ValueError(f"{member.filename!r:.80} is packed in a way that numpy does not write")
                with archive.open(member) as content:
                    array = _read_array(content, member.file_size, member.filename)
                    if content.read(1):  # the end, where the checksum is compared
                        raise ValueError(f"{member.filename!r:.80} goes on after its array")
                    arrays[member.filename.removesuffix(".npy")] = array
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error) as error:
        raise ValueError(f"it is no archive of arrays, or is damaged: {error}") from None
    except MemoryError:
        raise ValueError("its arrays do not fit into the memory of this machine") from None
    return arrays


def map_array(path: Path) -> NDArray[Any]:
    """The array of an .npy file, mapped to memory: it is read where it is used."""
    with opened(path) as file:
        dtype, shape, fortran = _header(file, os.fstat(file.fileno()).st_size, path.name)
        if not prod(shape):
            return np.empty(shape, dtype)
        return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _read_array(file: IO[bytes], n_bytes: int, name: str) -> NDArray[Any]:
    dtype, shape, fortran = _header(file, n_bytes, name)
    content = file.read(wanted := prod(shape) * dtype.itemsize)
    if len(content) < wanted:
        raise ValueError(f"{name!r:.80} ends within its array")
    array = np.frombuffer(bytearray(content), dtype) if wanted else np.empty(prod(shape), dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def _header(file: IO[bytes], n_bytes: int, name: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Type, shape and order of the array that a file of so many bytes holds."""
    try:
        version = npy.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"its version {version} is not read")
        shape, fortran, dtype = _HEADERS[version](file)
        # A bool is an int to numpy's check.
        valid = all(type(length) is int and length >= 0 for length in shape) and len(shape) <= 32
        if not valid or dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None:
            raise ValueError("it is no array of numbers or strings")
    except Exception as error:  # numpy reads the header as Python's tokens and literals, which raise what they like
        raise ValueError(f"{name!r:.80} is no array that can be read: {error!s:.200}") from None
    if (claimed := prod(shape) * dtype.itemsize) > n_bytes:
        raise ValueError(f"{name!r:.80} has {_size(claimed)} by its header, and {_size(n_bytes)} are there")
    if dtype.itemsize == 0 and prod(shape) > n_bytes:
        raise ValueError(f"{name!r:.80} has {prod(shape):,} empty elements")
    return dtype, shape, fortran


def reason(error: Exception) -> str:
    """Why a file could not be read, as the end of a sentence, without the path of the user's folder."""
    if isinstance(error, KeyError):
        return f"{error.args[0]!r:.80} is missing" if error.args else "a key is missing"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."


def _size(n_bytes: int) -> str:
    return f"{n_bytes:,} bytes" if n_bytes < 1 << 20 else f"{n_bytes / (1 << 20):,.0f} MiB"
