"""Files that appear under their name only when they are whole, and are never reached through somebody else's link."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

from cutlayer.errors import WriteError

PART = ".part"
"""Ending of what is being written."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise `WriteError`, with the path and the reason, for what the operating system refuses in the block."""
    try:
        yield
    except OSError as error:
        raise WriteError.of(path, error) from error


def part_of(path: Path) -> Path:
    """A name for what becomes `path`, in the same folder: hidden, and one that nobody can have prepared."""
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}{PART}")


def leftovers(path: Path) -> list[Path]:
    """What processes that were killed have left of `path`. Whoever deletes it holds a lock for `path`."""
    escaped = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path.name[:40])
    return list(path.parent.glob(f".{escaped}.{'[0-9a-f]' * 16}{PART}"))


@contextmanager
def new_path(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """The path of a new empty file, for libraries that want a path; it becomes `path` if the block has no error.

    Args:
        path: The file; one of that name is replaced, and its folder is made if it is missing.
        mode: Its permissions, less those that the process withholds.

    Raises:
        WriteError: It cannot be written. The file of that name, if there is one, is the old one still.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(path)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
        try:
            yield part
            _refuse_special(path)
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise


@contextmanager
def new_file(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Like `new_path`, opened. The content is on the disk before the file has its name, whatever becomes of the power.

    Raises:
        WriteError: It cannot be written; see `new_path`.
    """
    with new_path(path, mode) as part, open_regular(part, os.O_RDWR) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def open_regular(path: Path, flags: int, mode: int = 0o666, *, buffering: int = -1) -> BinaryIO:
    """Open a file that others may have prepared: a link, a folder, a pipe or a device is refused at once.

    Args:
        path: The file. Links in its folder's path are followed, for these are the user's.
        flags: Of `os.open`, such as ``os.O_RDWR | os.O_CREAT``.
        mode: Permissions of a new file, less those that the process withholds.
        buffering: As for `open`.

    Raises:
        OSError: It cannot be opened, or is no ordinary file.
    """
    # A pipe would otherwise be waited for.
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    except OSError as error:
        raise _special(path) if error.errno == errno.ELOOP else error from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _special(path)
        how = {os.O_RDONLY: "rb", os.O_WRONLY: "wb", os.O_RDWR: "r+b"}[flags & os.O_ACCMODE]
        return cast(BinaryIO, os.fdopen(descriptor, "ab" if flags & os.O_APPEND else how, buffering))
    except BaseException:
        os.close(descriptor)
        raise


def write_whole(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write all bytes to an unbuffered file, which may take fewer at a time. Raises OSError."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def check_writable(path: Path, kind: Literal["file", "folder", "new folder"]) -> None:
    """Refuse a path that cannot be written, before the work whose result belongs there. Nothing is made.

    Args:
        path: What will be written; it need not exist, nor the folder that holds it.
        kind: A file, a folder that gets files, or a folder that appears when it is whole.

    Raises:
        WriteError: It is of another kind, or the user may not write there.
    """
    with writing(path):
        if kind == "file":
            _refuse_special(path)
        # A new file or folder takes the place of the old one, so that the folder around it is what is written.
        within = {"file": path.absolute().parent, "folder": path.absolute(), "new folder": path.resolve().parent}[kind]
        nearest = next(parent for parent in (within, *within.parents) if os.path.lexists(parent))
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is no folder")
        if not os.access(nearest, os.W_OK | os.X_OK):
            read_only = bool(os.statvfs(nearest).f_flag & os.ST_RDONLY)
            code = errno.EROFS if read_only else errno.EACCES
            raise OSError(code, f"{os.strerror(code)} in {nearest}")


def _refuse_special(path: Path) -> None:
    """Raise OSError for a folder, pipe or device, which a new file would replace."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise _special(path)


def _special(path: Path) -> OSError:
    kind = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "no ordinary file"
    return OSError(errno.EINVAL, f"it is {kind}", str(path))
