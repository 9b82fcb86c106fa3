"""The two ends of a connection, from an address."""

from __future__ import annotations

import logging
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from cutlayer.errors import ConfigError
from cutlayer.registry import TRANSPORTS
from cutlayer.wire.address import Address
from cutlayer.wire.retry import Client, Line, Retry
from cutlayer.wire.scheme import Scheme
from cutlayer.wire.security import PLAIN, Security, exposed, option
from cutlayer.wire.transport import Handler, Server, Timeouts, Transport
from cutlayer.wire.trouble import described
from cutlayer.wire.visitors import Visitors

log = logging.getLogger("cutlayer.wire")

_said: set[Path] = set()
"""Secret files that others can read and of which the log has a line."""


def connect(
    address: str, timeouts: Timeouts | None = None, *, retry: Retry | None = None, security: Security = PLAIN
) -> Transport:
    """Return the client's end of the transport that the address names. It connects with the first request.

    Raises:
        ConfigError: The address or a file of `security` is not valid, or plain text would leave the machine without
            `security.insecure`.
    """
    target, scheme = check_secure(address, security, listening=False)
    with described(f"No server is reached at {target}"):
        line: Line = _load(scheme.client, target, scheme)(target, timeouts or Timeouts(), security)
    return Client(line, target, retry or Retry())


def listen(
    address: str,
    handler: Handler,
    timeouts: Timeouts | None = None,
    *,
    security: Security = PLAIN,
    visitors: Visitors | None = None,
) -> Server:
    """Return a server that answers at the address until it is closed, and that logs to `visitors` who reaches it.

    Raises:
        ConfigError: See `connect`.
        WireError: It cannot listen at the address; the error says why.
    """
    target, scheme = check_secure(address, security, listening=True)
    if not scheme.server:
        raise ConfigError(f"{target.scheme}:// is for clients only; listen at grpc:// or zmq:// instead.")
    serve = _load(scheme.server, target, scheme)
    with described(f"Cannot listen at {target}"):
        server: Server = serve(target, handler, timeouts or Timeouts(), security, visitors or Visitors())
    return server


def servable() -> list[str]:
    """Return the names of the transports over which a server can be reached from another process."""
    schemes: dict[str, Scheme] = {name: TRANSPORTS.load(name) for name in TRANSPORTS}
    return [name for name, scheme in schemes.items() if scheme.networked and scheme.server]


def check_secure(text: str, security: Security, *, listening: bool) -> tuple[Address, Scheme]:
    """Return the address and its transport, if these files suit it and no plain text leaves the machine.

    Raises:
        ConfigError: See `connect`.
    """
    address = Address.parse(text)
    scheme: Scheme = TRANSPORTS.load(address.scheme)
    if scheme.networked:
        for name in security.files:
            if name not in scheme.files:
                raise ConfigError(f"{option(name)} has no effect over {address.scheme}://; leave it out.")
    scheme.check_files(security, listening=listening)
    for path in security.secret_files:
        if path not in _said and (why := exposed(path)):
            _said.add(path)
            log.warning("%s; let nobody else read it: chmod 600 %s", why, path)
    security.refuse_plain_text(address, scheme.encrypted_by)
    return address, scheme


def _load(name: str, address: Address, scheme: Scheme) -> Any:
    try:
        return resolve_name(name)
    except ImportError as error:
        raise ConfigError(
            f"{address.scheme}:// needs the package {scheme.package}, which cannot be imported here ({error}); "
            "install it, or use another transport."
        ) from None
