"""The two ends of a connection, from an address."""

from __future__ import annotations

from cutlayer.errors import ConfigError
from cutlayer.registry import TRANSPORTS
from cutlayer.wire.address import Address
from cutlayer.wire.retry import Client, Retry
from cutlayer.wire.scheme import Scheme
from cutlayer.wire.security import PLAIN, Security
from cutlayer.wire.transport import Handler, Server, Timeouts, Transport


def connect(
    address: str, timeouts: Timeouts | None = None, *, retry: Retry | None = None, security: Security = PLAIN
) -> Transport:
    """Return the client's end of the transport that the address names. It connects with the first request.

    Args:
        address: Address of the server.
        timeouts: Time limits; the defaults if left out.
        retry: Retry policy; the default if left out.
        security: Files for encryption and authentication; plain text if left out.

    Raises:
        ConfigError: The address or a file of `security` is not valid, or plain text would leave the machine without
            `security.insecure`.
    """
    target, scheme = check_secure(address, security, listening=False)
    return Client(scheme.connect(target, timeouts or Timeouts(), security), target, retry or Retry())


def listen(address: str, handler: Handler, timeouts: Timeouts | None = None, *, security: Security = PLAIN) -> Server:
    """Return a server that answers at the address until it is closed.

    Args:
        address: Address to listen at.
        handler: Handler of the requests.
        timeouts: Time limits; the defaults if left out.
        security: Files for encryption and authentication; plain text if left out.

    Raises:
        ConfigError: See `connect`.
        WireError: The address is taken, or does not belong to this machine.
    """
    target, scheme = check_secure(address, security, listening=True)
    return scheme.listen(target, handler, timeouts or Timeouts(), security)


def servable() -> list[str]:
    """Return the names of the transports over which a server can be reached from another process."""
    schemes: dict[str, Scheme] = {name: TRANSPORTS.make(name) for name in TRANSPORTS}
    return [name for name, scheme in schemes.items() if scheme.networked and scheme.server]


def check_secure(text: str, security: Security, *, listening: bool) -> tuple[Address, Scheme]:
    """Return the address and its transport, if these files suit it and no plain text leaves the machine.

    Raises:
        ConfigError: See `connect`.
    """
    address = Address.parse(text)
    scheme: Scheme = TRANSPORTS.make(address.scheme)
    if scheme.networked:
        for name in security.files:
            if name not in scheme.files:
                raise ConfigError(f"{_option(name)} has no effect over {address.scheme}://; leave it out.")
    scheme.check_files(security, listening=listening)
    if address.leaves_machine and not security.insecure and not scheme.encrypted(security):
        options = " and ".join(map(_option, scheme.encrypted_by))
        raise ConfigError(
            f"{address} is not on this machine, and smashed data would cross the network in plain text. Encrypt it "
            f"with {options} (`cutlayer certs init` writes the files), or allow plain text with --insecure."
        )
    return address, scheme


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
