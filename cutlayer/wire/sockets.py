"""The TCP connections of this process to one of its ports, as the operating system knows them.

The libraries of the transports accept connections and read from them, and tell neither whose they are nor what arrives
on them. The descriptors are those of this process, so the system can be asked, which costs the connections nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

DESCRIPTORS = "/proc/self/fd"
MOST_DESCRIPTORS = 4096
"""Descriptors that are tried one by one where the system lists none, such as when none is left to open the list."""

_TCP_INFO = getattr(socket, "TCP_INFO", None)
_RECEIVED = struct.Struct("=128xQ")
"""Place of `tcpi_bytes_received` in Linux' `struct tcp_info`."""


class Key(NamedTuple):
    """What tells a connection from any other: its descriptor, and its number, which is not used again soon."""

    descriptor: int
    inode: int


class Sockets:
    """The connections to a port of this process.

    Args:
        port: The port.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._known: dict[Key, tuple[str, int]] = {}
        self._n_open = 0

    def look(self) -> dict[Key, tuple[str, int]]:
        """Return host and port at the other end of each connection."""
        self._n_open, ends = 0, {}
        for descriptor in _descriptors():
            with contextlib.suppress(OSError):
                status = os.fstat(descriptor)
                self._n_open += 1
                if stat.S_ISSOCK(status.st_mode):
                    key = Key(descriptor, status.st_ino)
                    ends[key] = self._known.get(key) or self._other_end(key)
        self._known = {key: end for key, end in ends.items() if end is not None}
        return self._known

    def room(self, kept: int) -> int:
        """Return how many descriptors are free for connections, those of the last look included, beside `kept`."""
        if resource is None:
            return MOST_DESCRIPTORS
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return MOST_DESCRIPTORS if limit == resource.RLIM_INFINITY else limit - self._n_open + len(self._known) - kept

    def received(self, key: Key) -> int:
        """Return the bytes that have arrived on a connection; 0 if it is closed, or where the system does not say."""
        if _TCP_INFO is None:
            return 0
        with contextlib.suppress(OSError, struct.error), _borrowed(key) as connection:
            info = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _RECEIVED.size)
            return int(_RECEIVED.unpack_from(info)[0])
        return 0

    def end(self, key: Key) -> None:
        """End a connection: its library reads the end of it, and closes it."""
        with contextlib.suppress(OSError):
            if self._other_end(key) is not None:
                with _borrowed(key) as connection:
                    connection.shutdown(socket.SHUT_RDWR)

    def _other_end(self, key: Key) -> tuple[str, int] | None:
        # With its true family, or an address of IPv6 would be cut off.
        with contextlib.suppress(OSError), _borrowed(key, family=-1) as connection:
            if connection.family not in (socket.AF_INET, socket.AF_INET6):
                return None
            here, there = connection.getsockname(), connection.getpeername()
            if here[1] == self._port:
                return str(there[0]), int(there[1])
        return None


def _descriptors() -> Iterator[int]:
    """Yield the open descriptors, and perhaps some that are not."""
    try:
        yield from map(int, os.listdir(DESCRIPTORS))
    except OSError:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource is not None else MOST_DESCRIPTORS
        yield from range(min(limit, MOST_DESCRIPTORS) if limit >= 0 else MOST_DESCRIPTORS)


@contextmanager
def _borrowed(key: Key, family: int = socket.AF_INET) -> Iterator[socket.socket]:
    """Lend the socket of a descriptor that belongs to a library, without another descriptor.

    Asking the system for its family, which -1 stands for, takes longer. Raises OSError.
    """
    if os.fstat(key.descriptor).st_ino != key.inode:
        raise OSError("the connection is closed")
    borrowed = socket.socket(
        family, -1 if family == -1 else socket.SOCK_STREAM, -1 if family == -1 else 0, key.descriptor
    )
    try:
        yield borrowed
    finally:
        borrowed.detach()
