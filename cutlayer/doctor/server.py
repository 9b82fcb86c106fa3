"""How far away the server is, how much gets through to it, and whether it is the right one."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import ssl
import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple

from cutlayer.doctor.files import expiry
from cutlayer.doctor.finding import Finding, fault, note, ok
from cutlayer.errors import DeadlineExceeded, Refused, Unreachable, WireError
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.wire.address import Address
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.connect import connect
from cutlayer.wire.grpc import tls
from cutlayer.wire.handshake import metadata_request
from cutlayer.wire.message import Inference, Message, infer_request
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts, Transport

NOBODYS = "cutlayer-doctor"
"""A model that no server holds: it refuses what is sent for it once all of it has arrived, and keeps none of it."""

KEYS = "both sides need files of one `cutlayer certs init`: copy this side's from there"

ROUND_TRIPS = 10
FIRST_BYTES, MOST_BYTES = 4 << 10, 16 << 20
LONG_ENOUGH_S = 0.25
"""For one message, to tell the bandwidth by."""

SMALL_MTU_BYTES = 1280
"""What every link of IPv6 carries; below it a tensor becomes very many packets."""

_IP_MTU, _IPV6_MTU = 14, 24
_TIMEOUTS = Timeouts(connect_s=5.0, request_s=30.0)


class Speed(NamedTuple):
    """Of the way to the server, as the transport sees it.

    Attributes:
        rtt_s: Median of `ROUND_TRIPS` small messages.
        up_bps: Of the largest message that was tried; None where none took longer than a small one.
        sent_bytes: How large that was.
    """

    rtt_s: float
    up_bps: float | None
    sent_bytes: int


def check_server(text: str, security: Security, manifest: Manifest | None, *, insecure: bool) -> Iterator[Finding]:
    """All of it; stops where the server cannot be reached.

    Args:
        text: Its address.
        security: As for `connect`.
        manifest: Of the split that it should hold, if that is to be checked.
        insecure: As for `connect`.

    Raises:
        ConfigError: The address is none, or plain text would leave the machine.
    """
    address = Address.parse(text)
    with contextlib.closing(connect(text, _TIMEOUTS, security=security, insecure=insecure)) as transport:
        reached = _reach(address)
        yield reached
        if reached.status == "fault":
            return
        if address.scheme != "zmq" and (why := tls.why_not(address, security, _TIMEOUTS.connect_s)):
            yield fault("server", why, KEYS)
            return
        if security.tls:
            yield from _server_certificate(address, security)
        yield from _mtu(address)
        try:
            speed = measure(transport)
        except Refused as refused:
            yield fault("server", str(refused), KEYS if refused.code == "UNAUTHENTICATED" else "look at its own words")
            return
        except (DeadlineExceeded, Unreachable) as error:
            yield fault(
                "server", str(error), "look at the server's own words; is it `cutlayer cloud` that listens there?"
            )
            return
        yield ok("round trip", f"{speed.rtt_s * 1e3:.2f} ms, median of {ROUND_TRIPS} through {address.scheme}")
        yield _bandwidth(speed)
        if manifest is not None:
            yield _same_split(transport, manifest)


def measure(transport: Transport) -> Speed:
    """Round trips of small messages, then of ever larger ones until one takes long enough.

    Raises:
        WireError: The server cannot be reached, lets nobody in, or goes away. A message too large to get through in
            time is no error: the last that did counts.
    """
    # The first opens the connection.
    _ask(transport, metadata_request(NOBODYS, ""))
    rtt_s = statistics.median(_ask(transport, metadata_request(NOBODYS, "")) for _ in range(ROUND_TRIPS))
    up_bps, sent, n_bytes = None, 0, FIRST_BYTES
    while n_bytes <= MOST_BYTES:
        try:
            took_s = min(_ask(transport, _bulk(n_bytes, again)) for again in range(3 if sent else 1))
        except DeadlineExceeded:
            break
        # Below that, the difference of the two is mostly noise.
        if took_s > 1.5 * rtt_s:
            up_bps = 8 * n_bytes / (took_s - rtt_s)
        sent = n_bytes
        if took_s > rtt_s + LONG_ENOUGH_S:
            break
        n_bytes *= 4
    return Speed(rtt_s, up_bps, sent)


def _ask(transport: Transport, message: Message) -> float:
    """How long a request took that the server refuses, in seconds. Raises WireError, where it did not come that far."""
    start = time.perf_counter()
    try:
        transport.request(message, _TIMEOUTS.request_s)
    except Refused as refused:
        if refused.code not in ("NOT_FOUND", "INVALID_ARGUMENT"):
            raise
    return time.perf_counter() - start


def _bulk(n_bytes: int, number: int) -> Message:
    # Random, for a link that compresses would look faster than it is for smashed data.
    tensor = Encoded("UINT8", (1, n_bytes), os.urandom(n_bytes), {"codec": "raw"})
    return infer_request(Inference(NOBODYS, "", f"{os.getpid()}-{n_bytes}-{number}", {"smashed": tensor}))


def _bandwidth(speed: Speed) -> Finding:
    if not speed.sent_bytes:
        return fault(
            "bandwidth",
            f"small messages get through, and {FIRST_BYTES:,} bytes do not within {_TIMEOUTS.request_s:g} s",
            "if the link is no slower than that, packets of full size are lost: lower the MTU, "
            "ip link set dev DEVICE mtu 1400",
        )
    if speed.up_bps is None:
        return ok("bandwidth", f"{speed.sent_bytes:,} bytes up took no longer than a small message")
    mbps = f"{float(f'{speed.up_bps / 1e6:.3g}'):,g}"
    return ok("bandwidth", f"{mbps} Mbit/s up, by {speed.sent_bytes:,} bytes; the way back carries logits alone")


def _reach(address: Address) -> Finding:
    """By plain TCP."""
    start = time.perf_counter()
    try:
        with socket.create_connection((address.host, address.port), _TIMEOUTS.connect_s) as connection:
            took_s = time.perf_counter() - start
            return ok("server", f"{address} is {connection.getpeername()[0]}, TCP opened in {took_s * 1e3:.2f} ms")
    except socket.gaierror:
        return fault("server", f"nobody knows the name {address.host}", "check its spelling and this device's DNS")
    except ConnectionRefusedError:
        return fault("server", f"nobody listens at {address}", "start `cutlayer cloud` there, and check the port")
    except TimeoutError:
        return fault("server", f"{address} is silent", "check the route to it, and the firewalls on the way")
    except OSError as error:
        return fault("server", f"{address}: {str(error.strerror).lower()}", "check this device's network")


def _server_certificate(address: Address, security: Security) -> Iterator[Finding]:
    context = ssl.create_default_context(cafile=security.ca)
    if security.cert:
        context.load_cert_chain(security.cert, security.key)
    with (
        contextlib.suppress(OSError),
        socket.create_connection((address.host, address.port), _TIMEOUTS.connect_s) as plain,
        context.wrap_socket(plain, server_hostname=address.host) as encrypted,
    ):
        told = encrypted.getpeercert() or {}
        until = datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(str(told["notAfter"])), datetime.UTC)
        yield expiry("the server's", until, datetime.datetime.now(datetime.UTC), "make new ones at the server")


def _mtu(address: Address) -> Iterator[Finding]:
    """Of the way to the server, as far as the kernel knows it; nothing where it does not say."""
    with contextlib.suppress(OSError):
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)[0][0]
        level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_MTU)
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address.host, address.port))
            mtu = probe.getsockopt(level, option)
        if mtu < SMALL_MTU_BYTES:
            yield note("MTU", f"{mtu:,} bytes", "raise it if the link allows: ip link set dev DEVICE mtu 1500")
        else:
            yield ok("MTU", f"{mtu:,} bytes")


def _same_split(transport: Transport, manifest: Manifest) -> Finding:
    name = tail_name(manifest)
    try:
        transport.request(metadata_request(name, manifest.version), _TIMEOUTS.request_s)
    except Refused as refused:
        return fault("handshake", str(refused), "copy one split folder to both sides")
    except WireError as error:
        return fault("handshake", str(error), "look at the server's own words")
    return ok("handshake", f"it holds {name}, version {manifest.version}")
