"""Addresses of servers, each naming its transport.

grpc://192.0.2.7:8001         the Open Inference Protocol over HTTP/2
zmq://127.0.0.1:0             multi-part ZeroMQ messages; with port 0 the server takes a free port
oip+grpc://HOST:PORT/MODEL    any server of the Open Inference Protocol that hosts an exported tail as MODEL
inprocess://any-name          a function call, for tests and simulations
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from cutlayer.errors import ConfigError
from cutlayer.foreign import shown
from cutlayer.registry import TRANSPORTS

LOCALHOST = "localhost"
MOST_PORT = (1 << 16) - 1

_MOST_NAME = 253
_LABEL = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Address:
    """Address of a server.

    Attributes:
        scheme: Name of the transport.
        host: Name or IP address of the machine; any name if the server is in this process.
        port: TCP port; 0 lets a server take a free one.
        model: Name of the tail on a server that is not ours.
        local: Whether the server is in this process.
    """

    scheme: str
    host: str
    port: int = 0
    model: str = ""
    local: bool = False

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``scheme://host:port``, ``oip+grpc://host:port/model`` or ``inprocess://name``.

        Raises:
            ConfigError: The text is not an address, or there is no such transport.
        """
        scheme, mark, rest = text.partition("://")
        transport = TRANSPORTS.load(scheme) if mark else None
        if transport and not transport.networked and rest:
            return cls(scheme, rest, local=True)
        model = ""
        if transport and transport.takes_model:
            rest, _, model = rest.partition("/")
        if not transport or not transport.networked:
            raise _not_an_address(
                text, "a transport and :// must come first" if not transport else "the name is missing"
            )
        try:
            return cls(scheme, *host_and_port(rest), model)
        except ValueError as error:
            raise _not_an_address(text, str(error)) from None

    @property
    def netloc(self) -> str:
        """``host:port``, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def server_name(self) -> str:
        """The host as a certificate writes it: in lower case, without a last dot or a zone, other scripts in ASCII."""
        return certified(self.host)

    @property
    def leaves_machine(self) -> bool:
        """Whether the bytes may cross a network between machines."""
        if self.local or self.server_name == LOCALHOST:
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host if self.local else self.netloc}{self.model and '/'}{self.model}"


def certified(host: str) -> str:
    """Return a host as a certificate writes it, see `Address.server_name`. Raises UnicodeError for other text."""
    host = host.partition("%")[0].lower()
    return host if ":" in host else host.removesuffix(".").encode("idna").decode("ascii")


def host_and_port(text: str) -> tuple[str, int]:
    """Return the parts of ``host:port``, brackets around the host removed. Raises ValueError with what is wrong."""
    host, colon, port = text.rpartition(":")
    if not (colon and host):
        raise ValueError("it needs a host, a colon and a port")
    if not (port.isascii() and port.isdecimal() and len(port) < 6 and int(port) <= MOST_PORT):
        raise ValueError(f"the port must be a number from 0 to {MOST_PORT}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    check_host(host)
    return host, int(port)


def check_host(host: str) -> None:
    """Raise ValueError with what is wrong with a host."""
    if ":" in host or "%" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("the host holds a colon or %, but is no IPv6 address") from None
        return
    try:
        name = host.removesuffix(".").encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError("the parts of a host name between dots have 1 to 63 letters that names may have") from None
    if len(name) > _MOST_NAME:
        raise ValueError(f"a host name has at most {_MOST_NAME} letters")
    if not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError("a host name has letters, digits, hyphens and dots only")


def _not_an_address(text: str, why: str) -> ConfigError:
    return ConfigError(
        f"'{shown(text)}' is not an address: {why}; write grpc://127.0.0.1:8001 or zmq://127.0.0.1:8001."
    )
