"""What this process uses: memory, and the bytes that the kernel sent for it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import socket
import stat
import struct
import sys
from pathlib import Path

# Where `struct tcp_info` of Linux 4.19 and later keeps tcpi_bytes_sent: retransmissions included, IP headers not.
_BYTES_SENT_AT = 200


def restart_peak_rss() -> None:
    """Reset the peak where the kernel can: reading a data set may have used more memory than the requests will."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_rss_bytes() -> int:
    """Greatest resident size of this process since `restart_peak_rss`, or since it began."""
    with contextlib.suppress(OSError, StopIteration):
        status = Path("/proc/self/status").read_text().splitlines()
        # Not getrusage, which on Linux starts from the size of the parent that this process was forked from.
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"), "keepcost"
        )
    )  # fmt: skip


def allocated_bytes() -> int | None:
    """Bytes that the C library has given out and not got back, in all threads; None where it does not tell.

    Free space that it keeps is part of the resident memory, and not of these. Neither are Python's small objects, for
    which Python has memory of its own: `sys.getallocatedblocks` counts them.
    """
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        # It came with glibc 2.33.
        return None
    mallinfo2.restype = _Mallinfo2
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


def sent_bytes(port: int) -> int | None:
    """Bytes that this process's open TCP connections to a port have sent; None where the kernel does not tell."""
    with contextlib.suppress(OSError):
        counts = [_sent(int(entry.name), port) for entry in os.scandir("/proc/self/fd")]
        known = [count for count in counts if count is not None]
        return sum(known) if known else None
    return None


def _sent(descriptor: int, port: int) -> int | None:
    """Bytes sent by one connection; None if the descriptor is no connection to the port or the kernel is too old."""
    with contextlib.suppress(OSError, struct.error):
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            if copy.family in (socket.AF_INET, socket.AF_INET6) and copy.getpeername()[1] == port:
                info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                return int(struct.unpack_from("@Q", info, _BYTES_SENT_AT)[0])
    return None
