"""How a server is reached: its name as the system resolves it, all its addresses, and why none of them answers.

The libraries of the transports receive numeric addresses only. gRPC has a resolver of its own, which knows neither mDNS
nor nsswitch.conf. ZeroMQ resolves in the thread that all its connections share, and tries the first address only.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from cutlayer.errors import Unreachable, WireError
from cutlayer.foreign import shown
from cutlayer.wire.address import LOCALHOST, Address
from cutlayer.wire.trouble import (
    ABSENT,
    NO_DESCRIPTORS,
    Trouble,
    descriptors,
    not_listening,
    not_reached,
    silent_name_service,
    unknown_name,
)

STAGGER_S = 0.25
"""Pause between the attempts at two addresses of one name: the Connection Attempt Delay of RFC 8305."""

MOST_ENDPOINTS = 16

_LISTEN_S = 10.0
"""Longest wait for the name service when a server begins to listen."""

_TEMPORARY = (socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM)

# Servers of our transports speak first. To this, servers of other protocols say what they are.
_QUESTION = b"GET / HTTP/1.0\r\n\r\n"


class Endpoint(NamedTuple):
    """A numeric address and a port."""

    family: int
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """``host:port``, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def look_up(address: Address, timeout_s: float, known: Sequence[Endpoint] = ()) -> tuple[Endpoint, ...]:
    """Return the addresses of a server, IPv6 and IPv4 in turn, that of the system's choice first.

    Args:
        address: Address of the server.
        timeout_s: Longest wait for the name service, in seconds.
        known: What was found before; it is returned if the name service does not answer now.

    Raises:
        Unreachable: The name is unknown, or the name service does not answer.
    """
    if _is_numeric(address.host):
        return _ask(address.host, address.port)
    found = _asked(address.host, address.port)
    try:
        return found.result(max(0.0, timeout_s / 4 if known else timeout_s))
    except TimeoutError:
        error = _Temporary(*silent_name_service(address.host))
    except _Temporary as temporary:
        error = temporary
    if known:
        return tuple(known)
    raise error


class Attempts:
    """TCP connections that are being opened without waiting. Close it after use, except for what `take` returned.

    Args:
        question: What is sent over each connection that is open.
    """

    def __init__(self, question: bytes = b"") -> None:
        self._question = question
        self._sockets: dict[Endpoint, socket.socket] = {}
        self._states: dict[Endpoint, int | None] = {}

    @property
    def pending(self) -> bool:
        """Whether an attempt has neither succeeded nor failed."""
        return any(state is None for state in self._states.values())

    def start(self, endpoint: Endpoint) -> None:
        """Begin to open a connection."""
        try:
            attempt = self._sockets[endpoint] = socket.socket(endpoint.family, socket.SOCK_STREAM)
            attempt.setblocking(False)
            code = attempt.connect_ex(_place(endpoint))
            self._states[endpoint] = None if code in (errno.EINPROGRESS, errno.EAGAIN) else code
        except OSError as error:
            self._states[endpoint] = error.errno or errno.EINVAL

    def look(self, timeout_s: float = 0.0) -> None:
        """Wait for news, at most this long."""
        poller, waiting = select.poll(), [end for end, state in self._states.items() if state is None]
        for endpoint in waiting:
            poller.register(self._sockets[endpoint], select.POLLOUT)
        ready = {descriptor for descriptor, _ in poller.poll(max(0, int(timeout_s * 1000) + bool(timeout_s)))}
        for endpoint in waiting:
            attempt = self._sockets[endpoint]
            if attempt.fileno() in ready:
                self._states[endpoint] = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if self._question and not self._states[endpoint]:
                    with contextlib.suppress(OSError):
                        attempt.send(self._question)

    def take(self) -> socket.socket | None:
        """Return an open connection, which is then the caller's, and blocks; None if there is none."""
        for endpoint, state in self._states.items():
            if state == 0:
                del self._states[endpoint]
                taken = self._sockets.pop(endpoint)
                taken.setblocking(True)
                return taken
        return None

    def trouble(self, scheme: str) -> Trouble | None:
        """Return why there is no server of this transport; None if there were no attempts."""
        self.look()
        codes: dict[int | None, list[str]] = {}
        for endpoint, state in self._states.items():
            codes.setdefault(state, []).append(endpoint.host)
        if 0 in codes:
            return _other_protocol(self._sockets, [end for end, state in self._states.items() if state == 0], scheme)
        # A refusal says more than silence, and no route is what this machine says of itself.
        order = sorted(codes, key=lambda code: (code not in NO_DESCRIPTORS, code != errno.ECONNREFUSED, code is None))
        troubles = [not_reached(code, " and ".join(codes[code])) for code in order]
        return Trouble("; ".join(trouble.says for trouble in troubles), troubles[0].do) if troubles else None

    def close(self) -> None:
        """Close all connections."""
        for attempt in self._sockets.values():
            attempt.close()


class Reason:
    """Finds out why a transport gets no connection, beside the transport's own attempts. Close it after use.

    It begins at half the time that may be waited, so that a server that is there is not bothered.

    Args:
        address: Address of the server.
        timeout_s: How long the transport tries.
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address, self._timeout_s = address, timeout_s
        self.half_way = time.monotonic() + timeout_s / 2
        self._attempts: Attempts | None = None
        self._name: Unreachable | None = None

    def no_name(self, error: Unreachable) -> None:
        """Note that the name was not resolved. An unknown name stays so if the last look-up runs out of time."""
        if self._name is None or not isinstance(error, _Temporary):
            self._name = error

    def ask(self, endpoints: Sequence[Endpoint]) -> None:
        """Connect to these addresses, if it is time and was not done yet."""
        self._name = None
        if self._attempts is None and time.monotonic() >= self.half_way:
            self._attempts = Attempts(_QUESTION)
            for endpoint in endpoints:
                self._attempts.start(endpoint)
        elif self._attempts is not None:
            self._attempts.look()

    def error(self) -> Unreachable:
        """Return the error that says why."""
        trouble = (self._name.says, self._name.do) if self._name else None
        if trouble is None and self._attempts is not None:
            trouble = self._attempts.trouble(self._address.scheme)
        return Unreachable.at(self._address, self._timeout_s, *(trouble or ()))

    def close(self) -> None:
        """Close the connections."""
        if self._attempts is not None:
            self._attempts.close()


def dial(address: Address, timeout_s: float) -> socket.socket:
    """Open a TCP connection to the first address of a server that takes one.

    Raises:
        Unreachable: None does within this time, in seconds; the error says why.
    """
    deadline = time.monotonic() + timeout_s
    waiting = list(look_up(address, timeout_s))
    attempts = Attempts()
    try:
        while (left_s := deadline - time.monotonic()) > 0:
            if waiting:
                attempts.start(waiting.pop(0))
            pause_until = time.monotonic() + STAGGER_S if waiting else deadline
            while attempts.pending and time.monotonic() < min(pause_until, deadline):
                attempts.look(min(pause_until, deadline) - time.monotonic())
                if (connection := attempts.take()) is not None:
                    connection.settimeout(left_s)
                    return connection
            if (connection := attempts.take()) is not None:
                connection.settimeout(left_s)
                return connection
            if not attempts.pending and not waiting:
                break
        trouble = attempts.trouble(address.scheme) or not_reached(None, address.host)
        raise Unreachable(f"No server answers at {address}: {trouble.says}", trouble.do)
    finally:
        attempts.close()


def bind_all(address: Address, bind: Callable[[Endpoint], int]) -> int:
    """Let a server listen at all addresses of its host, and return its port.

    Of the addresses of a name, those that this machine does not have are passed over: IPv6 is often off where
    /etc/hosts has an IPv6 address.

    Args:
        address: Address of the server; its port may be 0.
        bind: Makes the server listen at an endpoint and returns the port; raises OSError with the system's number.

    Raises:
        WireError: It cannot listen at one of the addresses, or at none; the error says why.
    """
    port, absent = 0, None
    try:
        endpoints = look_up(address, _LISTEN_S)
    except Unreachable as error:
        raise WireError(f"Cannot listen at {address}: {error}") from None
    for endpoint in endpoints:
        try:
            port = bind(endpoint._replace(port=port or address.port))
        except OSError as error:
            failed = not_listening(address, endpoint.host, port or address.port, error.errno)
            if error.errno not in ABSENT:
                raise failed from None
            absent = failed
    if not port and absent is not None:
        raise absent
    return port


def refusal_to_listen(endpoint: Endpoint) -> int | None:
    """Return the error number with which the system refuses to let this process listen; None if it does not refuse."""
    try:
        with socket.socket(endpoint.family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(_place(endpoint))
            trial.listen(1)
    except OSError as error:
        return error.errno
    return None


class _Temporary(Unreachable):
    """The name service does not answer, which says nothing about the name."""


_searches: dict[tuple[str, int], Future[tuple[Endpoint, ...]]] = {}
_searching = threading.Lock()


def _asked(host: str, port: int) -> Future[tuple[Endpoint, ...]]:
    """Return the addresses to come. The system's resolver may take half a minute, and cannot be stopped."""
    key = host, port
    with _searching:
        if key not in _searches:
            _searches[key] = Future()
            threading.Thread(target=_search, args=(key, _searches[key]), name="look-up", daemon=True).start()
        return _searches[key]


def _search(key: tuple[str, int], found: Future[tuple[Endpoint, ...]]) -> None:
    try:
        settle = partial(found.set_result, _ask(*key))
    except BaseException as error:
        settle = partial(found.set_exception, error)
    with _searching:
        del _searches[key]
    settle()


def _ask(host: str, port: int) -> tuple[Endpoint, ...]:
    """Return the addresses of a host; see `look_up`."""
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise _name_error(error, host) from None
    found = dict.fromkeys(
        Endpoint(family, _with_zone(*place), port)
        for family, *_, place in rows
        if family in (socket.AF_INET, socket.AF_INET6)
    )
    if host.rstrip(".").lower() == LOCALHOST:
        # Plain text is allowed to this name, so nobody else may answer to it.
        found = dict.fromkeys(end for end in found if ipaddress.ip_address(end.host).is_loopback)
    if not found:
        raise Unreachable(*unknown_name(host))
    families: dict[int, int] = {}
    turns = []
    for endpoint in found:
        turns.append((families.setdefault(endpoint.family, 0), endpoint))
        families[endpoint.family] += 1
    turns.sort(key=lambda turn: turn[0])
    return tuple(endpoint for _, endpoint in turns)[:MOST_ENDPOINTS]


def _name_error(error: socket.gaierror, host: str) -> Unreachable:
    if "%" in host:
        zone = host.partition("%")[2]
        return Unreachable(f"this machine has no network interface {zone}", "take one that `ip address` shows")
    try:
        socket.socket().close()
    except OSError as full:
        if full.errno in NO_DESCRIPTORS:
            return _Temporary(*descriptors())
    return _Temporary(*silent_name_service(host)) if error.errno in _TEMPORARY else Unreachable(*unknown_name(host))


def _with_zone(host: str, port: int, flow: int = 0, zone: int = 0) -> str:
    if not zone:
        return host
    with contextlib.suppress(OSError):
        return f"{host}%{socket.if_indextoname(zone)}"
    return f"{host}%{zone}"


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _place(endpoint: Endpoint) -> tuple[object, ...]:
    """Return the endpoint as `socket.connect` takes it, the zone of an IPv6 address as a number."""
    if endpoint.family != socket.AF_INET6:
        return endpoint.host, endpoint.port
    host, _, zone = endpoint.host.partition("%")
    return host, endpoint.port, 0, _zone_number(zone)


def _zone_number(zone: str) -> int:
    return int(zone) if zone.isdecimal() else socket.if_nametoindex(zone) if zone else 0


def _other_protocol(sockets: dict[Endpoint, socket.socket], ends: list[Endpoint], scheme: str) -> Trouble:
    """Return what the first of these open connections says, which the transport did not understand."""
    where = ends[0].netloc
    try:
        first = sockets[ends[0]].recv(64, socket.MSG_DONTWAIT)
    except OSError:
        first = b""
    if first[:1] == b"\xff" and first[9:10] == b"\x7f" and scheme != "zmq":
        return Trouble(f"{where} speaks ZeroMQ", "write zmq:// in place of the transport")
    if first[3:4] == b"\x04" and first[:1] == b"\0" and scheme == "zmq":
        return Trouble(f"{where} speaks gRPC", "write grpc:// in place of zmq://")
    if first[:2] == b"\x15\x03":
        return Trouble(f"{where} speaks TLS", "give --ca, or grpc:// in place of zmq://")
    if first.startswith((b"HTTP/1", b"<")):
        return Trouble(f"{where} is a web server (HTTP/1)", "check the port; cutlayer cloud prints its own")
    if first[:1].isalnum():
        words = shown(first.decode("utf-8", "replace").strip(), most=40)
        return Trouble(f"the program at {where} says '{words}'", "check the port; cutlayer cloud prints its own")
    return Trouble(
        f"{where} takes the connection, but says nothing that a server of this transport says",
        "check that `cutlayer cloud` listens there with this transport, and that both sides encrypt or neither",
    )
