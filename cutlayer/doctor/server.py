"""Checks of the server: round trip, bandwidth, certificate, and whether it holds the right split."""

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
from cutlayer.wire.connect import check_secure, connect
from cutlayer.wire.grpc import tls
from cutlayer.wire.handshake import metadata_request
from cutlayer.wire.message import Inference, Message, infer_request
from cutlayer.wire.reach import dial, look_up
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts, Transport

NO_MODEL = "cutlayer-doctor"
"""Name of a model that no server holds: a server refuses requests for it once they have arrived, and keeps nothing."""

KEYS = "both sides need files of the same `cutlayer certs init`; copy this side's files from there"
LOG = "see the server's log for the reason"
CLOUD = f"{LOG}, and check that `cutlayer cloud` listens there"

ROUND_TRIPS = 10
FIRST_BYTES, MOST_BYTES = 4 << 10, 16 << 20
LONG_ENOUGH_S = 0.25
"""Least time of one message from which the bandwidth is computed."""

SMALL_MTU_BYTES = 1280
"""Least MTU of IPv6; with a smaller one a tensor becomes very many packets."""

_IP_MTU, _IPV6_MTU = 14, 24
_TIMEOUTS = Timeouts(connect_s=5.0, request_s=30.0)


class Speed(NamedTuple):
    """Round trip and bandwidth to the server, through the transport.

    Attributes:
        rtt_s: Median round trip of `ROUND_TRIPS` small messages, in seconds.
        up_bps: Bits per second of the largest message; None if it took no longer than a small one.
        sent_bytes: Size of the largest message that arrived.
    """

    rtt_s: float
    up_bps: float | None
    sent_bytes: int


def check_server(text: str, security: Security, manifest: Manifest | None) -> Iterator[Finding]:
    """Check the server at an address; stop at the first fault. With a manifest, check that it holds that split.

    Raises:
        ConfigError: The address is not valid, or plain text would leave the machine.
    """
    address, scheme = check_secure(text, security, listening=False)
    with contextlib.closing(connect(text, _TIMEOUTS, security=security)) as transport:
        reached = _reach(address)
        yield reached
        if reached.status == "fault":
            return
        if "ca" in scheme.files and (why := tls.handshake_fault(address, security, _TIMEOUTS.connect_s)):
            yield fault("server", why, KEYS)
            return
        if security.ca or security.cert:
            yield from _server_certificate(address, security)
        yield from _mtu(address)
        try:
            speed = measure(transport)
        except Refused as refused:
            yield fault("server", str(refused), KEYS if refused.code == "UNAUTHENTICATED" else LOG)
            return
        except Unreachable as error:
            yield fault("server", error.says, error.do or CLOUD)
            return
        except DeadlineExceeded as error:
            yield fault("server", str(error), CLOUD)
            return
        yield ok("round trip", f"{speed.rtt_s * 1e3:.2f} ms, median of {ROUND_TRIPS} through {address.scheme}")
        yield _bandwidth(speed)
        if manifest is not None:
            yield _same_split(transport, manifest)


def measure(transport: Transport) -> Speed:
    """Time small messages, then ever larger ones until one takes long enough.

    Raises:
        WireError: The server cannot be reached, refuses this side, or closes the connection. A message that is too
            large to arrive in time is no error: the largest that did is used.
    """
    # The first request opens the connection.
    _time_refused(transport, metadata_request(NO_MODEL, ""))
    rtt_s = statistics.median(_time_refused(transport, metadata_request(NO_MODEL, "")) for _ in range(ROUND_TRIPS))
    up_bps, sent, n_bytes = None, 0, FIRST_BYTES
    while n_bytes <= MOST_BYTES:
        try:
            took_s = min(_time_refused(transport, _bulk(n_bytes, repetition)) for repetition in range(3 if sent else 1))
        except DeadlineExceeded:
            break
        # For shorter messages, the difference of the two times is mostly noise.
        if took_s > 1.5 * rtt_s:
            up_bps = 8 * n_bytes / (took_s - rtt_s)
        sent = n_bytes
        if took_s > rtt_s + LONG_ENOUGH_S:
            break
        n_bytes *= 4
    return Speed(rtt_s, up_bps, sent)


def _time_refused(transport: Transport, message: Message) -> float:
    """Return the seconds that a request took until the server refused it. Raises WireError for other failures."""
    start = time.perf_counter()
    try:
        transport.request(message, _TIMEOUTS.request_s)
    except Refused as refused:
        if refused.code not in ("NOT_FOUND", "INVALID_ARGUMENT"):
            raise
    return time.perf_counter() - start


def _bulk(n_bytes: int, repetition: int) -> Message:
    # Random bytes, because a link that compresses would seem faster than it is for smashed data.
    tensor = Encoded("UINT8", (1, n_bytes), os.urandom(n_bytes), {"codec": "raw"})
    return infer_request(Inference(NO_MODEL, "", f"{os.getpid()}-{n_bytes}-{repetition}", {"smashed": tensor}))


def _bandwidth(speed: Speed) -> Finding:
    if not speed.sent_bytes:
        return fault(
            "bandwidth",
            f"small messages arrive, but {FIRST_BYTES:,} bytes do not within {_TIMEOUTS.request_s:g} s",
            "if the link should be faster, packets of full size are lost; lower the MTU with "
            "ip link set dev DEVICE mtu 1400",
        )
    if speed.up_bps is None:
        return ok("bandwidth", f"{speed.sent_bytes:,} bytes up took no longer than a small message")
    mbps = f"{float(f'{speed.up_bps / 1e6:.3g}'):,g}"
    return ok("bandwidth", f"{mbps} Mbit/s up, measured with {speed.sent_bytes:,} bytes; only logits come back")


def _reach(address: Address) -> Finding:
    """Check that a TCP connection to the server can be opened."""
    start = time.perf_counter()
    try:
        with dial(address, _TIMEOUTS.connect_s) as connection:
            took_s = time.perf_counter() - start
            return ok("server", f"{address} is {connection.getpeername()[0]}, TCP opened in {took_s * 1e3:.2f} ms")
    except Unreachable as error:
        return fault("server", error.says, error.do)


def _server_certificate(address: Address, security: Security) -> Iterator[Finding]:
    with (
        contextlib.suppress(OSError, Unreachable),
        dial(address, _TIMEOUTS.connect_s) as plain,
        tls.context(security).wrap_socket(plain, server_hostname=address.server_name) as encrypted,
    ):
        certificate = encrypted.getpeercert() or {}
        until = datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), datetime.UTC)
        now = datetime.datetime.now(datetime.UTC)
        yield expiry("the server's certificate", until, now, "make new files with `cutlayer certs init`")


def _mtu(address: Address) -> Iterator[Finding]:
    """Check the MTU of the path to the server; yield nothing if the kernel does not know it."""
    with contextlib.suppress(OSError, Unreachable):
        family, *place = look_up(address, _TIMEOUTS.connect_s)[0]
        level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_MTU)
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(tuple(place))
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
        return fault("handshake", str(error), LOG)
    return ok("handshake", f"the server holds {name}, version {manifest.version}")
