"""The two ends of a connection, from an address."""

from __future__ import annotations

from typing import Any, cast

from cutlayer.errors import ConfigError
from cutlayer.registry import TRANSPORTS
from cutlayer.wire.address import Address
from cutlayer.wire.retry import Client, Retry
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Handler, Line, Server, Timeouts, Transport


def connect(
    address: str,
    timeouts: Timeouts | None = None,
    *,
    retry: Retry | None = None,
    security: Security | None = None,
    insecure: bool = False,
) -> Transport:
    """The client's end of the transport that the address names. Nobody is waited for before the first request.

    Args:
        address: Of the server.
        timeouts: The defaults when left out.
        retry: Which errors are asked again, and when; the defaults when left out.
        security: Files that prove who is who; plain text when left out.
        insecure: Allow plain text off loopback.

    Raises:
        ConfigError: The address is none, a file of `security` is not what it should be, or plain text would leave the
            machine and `insecure` is not given.
    """
    security = security or Security()
    where = _parse_safe(address, security, insecure, listening=False)
    line: Line = _transport(where.scheme)(where, timeouts or Timeouts(), security)
    return Client(line, where, retry or Retry())


def listen(
    address: str,
    handler: Handler,
    timeouts: Timeouts | None = None,
    *,
    security: Security | None = None,
    insecure: bool = False,
) -> Server:
    """A server that answers at the address, until it is closed.

    Raises:
        ConfigError: As for `connect`.
        WireError: The address is taken, or is not one of this machine.
    """
    security = security or Security()
    where = _parse_safe(address, security, insecure, listening=True)
    return cast(Server, _transport(where.scheme).listen(where, handler, timeouts or Timeouts(), security))


def _transport(scheme: str) -> Any:
    """The transport's class. Raises ConfigError where its package is not installed: a device needs one of the two."""
    try:
        return TRANSPORTS.load(scheme)
    except ImportError as error:
        package = {"grpc": "grpcio", "zmq": "pyzmq"}.get(scheme, scheme)
        raise ConfigError(
            f"{scheme}:// takes the package {package}, which cannot be loaded here ({error}); install it, or take "
            "another transport."
        ) from None


def _parse_safe(text: str, security: Security, insecure: bool, *, listening: bool) -> Address:
    address = Address.parse(text)
    over_zmq = address.scheme == "zmq"
    security.check(address.scheme, listening=listening)
    encrypted = security.curve if over_zmq else security.tls
    if address.leaves_machine and not encrypted and not insecure:
        given = "--curve-key and --curve-server" if over_zmq else "--ca, --cert and --key"
        raise ConfigError(
            f"{address} is off loopback, and smashed data would cross the network in plain text. Encrypt it with "
            f"{given} (cutlayer certs init writes the files), or allow it with --insecure."
        )
    return address
