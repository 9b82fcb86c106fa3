"""Why a server is not reached, and why one cannot listen: one sentence and one piece of advice for each cause.

The device, the server and `cutlayer doctor` all take their words from here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cutlayer.errors import Unreachable, WireError
from cutlayer.foreign import shown

NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
SPARE = 24
"""File descriptors that must be free for one end of a connection."""

_LEAST_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


class Trouble(NamedTuple):
    """What is wrong, and what to do about it; two parts of a sentence."""

    says: str
    do: str


def unknown_name(host: str) -> Trouble:
    """Return the words for a name that no name service of the system knows."""
    if host.rstrip(".").lower().endswith(".local"):
        do = "check that the machine is on; names in .local need mDNS, on Linux avahi-daemon and libnss-mdns"
    else:
        do = f"check its spelling with `getent hosts {host}`, or give the IP address"
    return Trouble(f"the name {host} is unknown here", do)


def silent_name_service(host: str) -> Trouble:
    """Return the words for a name about which the system gets no answer."""
    return Trouble(
        f"the name service does not answer when it is asked for {host}",
        "check this machine's network and the name servers in /etc/resolv.conf, or give the IP address",
    )


def descriptors() -> Trouble:
    """Return the words for a process, or a system, that may open no further file or connection."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Trouble(
        f"no file descriptor is free (limit of this process: {most})",
        "close connections, or raise the limit with `ulimit -n` or LimitNOFILE= of the service",
    )


@contextlib.contextmanager
def described(before: str) -> Iterator[None]:
    """Raise Unreachable, which says so, where a library would get no file descriptor: ZeroMQ ends the process then.

    Args:
        before: Beginning of the sentence: what is not possible.
    """
    try:
        with contextlib.ExitStack() as spare:
            for _ in range(SPARE):
                spare.enter_context(open(os.devnull, "rb"))
        yield
    except Exception as error:
        if getattr(error, "errno", None) not in NO_DESCRIPTORS:
            raise
        says, do = descriptors()
        raise Unreachable(f"{before}: {says}", do) from None


def not_reached(code: int | None, where: str) -> Trouble:
    """Return the words for a TCP connection that was not opened.

    Args:
        code: Error number of the system; None if nothing came back.
        where: Addresses that were tried.
    """
    if code in NO_DESCRIPTORS:
        return descriptors()
    if code == errno.ECONNREFUSED:
        return Trouble(
            f"{where} refuses the connection",
            "start `cutlayer cloud` there, and check the port and that it does not listen at 127.0.0.1 only",
        )
    if code in _NO_ROUTE:
        return Trouble(
            f"there is no route to {where}",
            "check that the machine is on, and that this one is connected to its network",
        )
    if code is None or code == errno.ETIMEDOUT:
        return Trouble(
            f"{where} is silent, without even a refusal",
            "check that the machine is on, its address, and the firewalls in between",
        )
    if code in (errno.EACCES, errno.EPERM):
        return Trouble(f"this machine forbids a connection to {where}", "check its firewall and the service's sandbox")
    if code in ABSENT:
        return Trouble(
            f"this machine has no address or free port from which to reach {where}",
            "check `ip address`; an IPv6 address needs IPv6 on this machine",
        )
    return Trouble(f"the connection to {where} fails: {_words(code)}", "check this machine's network")


def not_listening(address: object, host: str, port: int, code: int | None) -> WireError:
    """Return the error of a server that cannot listen.

    Args:
        address: The address that was asked for.
        host: The numeric address at which it failed.
        port: Its port.
        code: Error number of the system; None if it is not known.
    """
    says, do = _not_listening(host, port, code)
    return WireError(f"Cannot listen at {address}: {says}; {do}.")


def _not_listening(host: str, port: int, code: int | None) -> Trouble:
    if code in NO_DESCRIPTORS:
        return descriptors()
    if code in (errno.EACCES, errno.EPERM) and port < (least := _least_port()):
        return Trouble(
            f"this user may not listen at a port below {least}",
            f"choose a port of {least} or more, or give the process CAP_NET_BIND_SERVICE",
        )
    if code in (errno.EACCES, errno.EPERM):
        return Trouble("the system forbids it", "check the service's sandbox and SELinux, or choose another port")
    if code == errno.EADDRINUSE:
        return Trouble(
            f"port {port} is taken{_by(port)}", "end that program, or choose another port; port 0 takes a free one"
        )
    if code in ABSENT:
        return Trouble(
            f"{host} is no address of this machine", "take one that `ip address` shows, or 0.0.0.0 for all of them"
        )
    if code is None:
        return Trouble("the port was taken a moment ago, or the system gives no reason", "try again, or another port")
    return Trouble(_words(code), "choose another address")


def _least_port() -> int:
    """Return the first port at which every user may listen."""
    with contextlib.suppress(OSError, ValueError):
        return int(_LEAST_PORT.read_text())
    return 1024


def _by(port: int) -> str:
    """Return who listens at a port of this machine, as far as this user may know it."""
    with contextlib.suppress(Exception):
        import psutil

        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port and connection.pid:
                return f" by {shown(psutil.Process(connection.pid).name(), most=40)} (process {connection.pid})"
    return ""


def _words(code: int) -> str:
    return os.strerror(code).lower()
