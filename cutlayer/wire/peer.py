"""Who a connection belongs to, as a server knows it."""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable
from typing import NamedTuple

UNKNOWN = "a client of unknown address"

_IPV6_NETWORK = 64
"""Leading bits of an IPv6 address that one site is given; it chooses the others as it likes."""


class Peer(NamedTuple):
    """The client at the other end of a connection.

    Attributes:
        connection: Its connection: equal for all requests of one connection, and after a ZeroMQ client reconnects.
        name: Its address as ``host:port``, for the log.
        network: Its address without port, of IPv6 the first 64 bits; empty if unknown.
        identity: Proven by its certificate (its SHA-256) or its CURVE key on the server's list; empty without such a
            proof. A token proves none, because all clients of a server show the same one.
    """

    connection: Hashable
    name: str = UNKNOWN
    network: str = ""
    identity: str = ""

    @property
    def party(self) -> tuple[str, str]:
        """Whom limits apply to: devices that share a key count by their addresses, those of one address by keys."""
        return self.identity, self.network


def at(connection: Hashable, host: str, port: int | str, identity: str = "") -> Peer:
    """Return the peer of a connection from this address."""
    return Peer(connection, name(host, port), network(host), identity)


def network(host: str) -> str:
    """Return the address of which all connections count together; see `Peer`."""
    host = plain(host).partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((address, _IPV6_NETWORK), strict=False))


def plain(host: str) -> str:
    """Return an IPv4 address in its own form, and any other unchanged."""
    return host.removeprefix("::ffff:") if "." in host else host


def name(host: str, port: int | str) -> str:
    """Return ``host:port``."""
    host = plain(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
