"""A lock that says who holds it, for what only one process at a time may write.

It is a lock of the operating system on an open file, so that it is free as soon as its holder ends, however that ends.
The file names the holder; one that a killed process has left means nothing.
Over NFS the same holds between machines where the server has locks; without them nobody waits, and what is written is
whole in any case, because each writer has names of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from cutlayer.errors import BusyError
from cutlayer.foreign import shown
from cutlayer.machine.files import open_regular, writing

NAME = ".lock"

_MOST_BYTES = 1000
"""What is read of the file of a lock, which anybody may have written."""


@contextmanager
def only_one(path: Path, *, inside: bool = False, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of a file or folder during the block.

    Args:
        path: What is locked.
        inside: Whether the file of the lock is in that folder, which is made if it is missing. Otherwise it is beside
            it, so that it stays when the other is replaced.
        say: Given where it makes sense to wait for another process; called with one line that says for whom.

    Raises:
        BusyError: Another process holds it, and `say` is not given; the message says which one.
        WriteError: The file of the lock cannot be written.
    """
    name = path / NAME if inside else path.with_name(f".{path.name}{NAME}")
    is_new = not name.parent.exists()
    with _locked(path, name, say) as file:
        _sign(file)
        try:
            yield
        finally:
            # While it is held: whoever waits for it sees then that it is another file than that of the name.
            with contextlib.suppress(OSError):
                name.unlink()
                if is_new:
                    name.parent.rmdir()  # where nothing was written into it


def holder_of(path: Path) -> str | None:
    """Who holds the lock that lies beside a file or folder, in words; None where nobody does, as far as it is known."""
    try:
        with open_regular(path.with_name(f".{path.name}{NAME}"), os.O_RDONLY, buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _holder(file)
    except OSError:
        return None
    return None


@contextmanager
def _locked(path: Path, name: Path, say: Callable[[str], None] | None) -> Iterator[BinaryIO]:
    """The file of the lock, open and locked."""
    while True:
        with writing(name):
            name.parent.mkdir(parents=True, exist_ok=True)
            file = open_regular(name, os.O_RDWR | os.O_CREAT, buffering=0)
        with file:
            if not _taken(file):
                holder = _holder(file)
                if say is None:
                    raise BusyError(f"{path} is in use by {holder}; wait for its end, or name another one.")
                say(f"{path} is in use by {holder}; waiting for its end")
                say = _silent
                fcntl.flock(file, fcntl.LOCK_EX)
            if _still_named(file, name):
                yield file
                return


def _still_named(file: BinaryIO, name: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), name.lstat())
    except FileNotFoundError:
        return False


def _silent(_: str) -> None:
    """It has been said already."""


def _taken(file: BinaryIO) -> bool:
    """Take the lock if it is free. Where the file system has no locks, there is nothing to wait for."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _sign(file: BinaryIO) -> None:
    """Write down who holds it. On a full disk the lock holds without a name."""
    name = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now().isoformat(" ", "seconds")}
    try:
        file.truncate(0)
        file.seek(0)
        file.write(json.dumps(name).encode())
    except OSError:
        pass


def _holder(file: BinaryIO) -> str:
    """Who has signed the file, in words."""
    try:
        file.seek(0)
        name = json.loads(file.read(_MOST_BYTES))
        return shown(f"process {int(name['pid'])} on {name['host']} since {name['since']}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
