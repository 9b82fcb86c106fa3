"""Two hosts on one machine: network namespaces with their own addresses and a slow cable between them.

Each namespace lives as long as a process that waits for the end of its input, so that nothing is left behind even
when the test is killed: with the last process in it, a namespace and its end of the cable are gone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

LIMIT_S = 20
BURST_BYTES = 16 << 10
"""That the cable takes at once; a kernel without high-resolution timers needs rate / 100."""


class Host(NamedTuple):
    """One end of the cable.

    Attributes:
        address: Of this host, in a range kept for documentation.
        within: The words before a command that make it run there.
    """

    address: str
    within: tuple[str, ...]


class NotAllowedError(Exception):
    """This machine makes no namespaces for us; the text says why."""


@contextlib.contextmanager
def two_hosts(rate_mbps: float) -> Iterator[tuple[Host, Host]]:
    """Two hosts that see each other and nothing else, at this rate in either direction.

    Raises:
        NotAllowedError: The kernel, its modules or our rights do not allow it.
    """
    as_root = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    with _namespace(("unshare", *as_root, "--net")) as first:
        enter_first = _entering(first, bool(as_root))
        # Out of the first, so that both belong to one user namespace.
        with _namespace((*enter_first, "unshare", "--net")) as second:
            enter_second = _entering(second, bool(as_root))
            here, there = Host("192.0.2.1", enter_first), Host("192.0.2.2", enter_second)
            _run(
                *here.within,
                "ip",
                "link",
                "add",
                "cable",
                "type",
                "veth",
                "peer",
                "name",
                "cable",
                "netns",
                str(second),
            )
            for host in (here, there):
                _run(*host.within, "ip", "addr", "add", f"{host.address}/24", "dev", "cable")
                for device in ("lo", "cable"):
                    _run(*host.within, "ip", "link", "set", device, "up")
                shape = ("tbf", "rate", f"{rate_mbps:g}mbit", "burst", str(BURST_BYTES), "latency", "500ms")
                _run(*host.within, "tc", "qdisc", "add", "dev", "cable", "root", *shape)
            yield here, there


@contextlib.contextmanager
def _namespace(command: tuple[str, ...]) -> Iterator[int]:
    """The process that holds a new namespace."""
    try:
        holder = subprocess.Popen(
            [*command, "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise NotAllowedError(f"no {error.filename} here") from None
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            raise NotAllowedError(holder.communicate(timeout=LIMIT_S)[1].decode().strip())
        yield holder.pid
    finally:
        holder.communicate(timeout=LIMIT_S)


def _entering(pid: int, as_user: bool) -> tuple[str, ...]:
    user = ("--user", "--preserve-credentials") if as_user else ()
    return ("nsenter", "--target", str(pid), *user, "--net")


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except FileNotFoundError as error:
        raise NotAllowedError(f"no {error.filename} here") from None
    if done.returncode:
        raise NotAllowedError(f"{' '.join(command)}: {done.stderr.strip()}")
