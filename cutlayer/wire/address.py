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
from cutlayer.registry import TRANSPORTS


def _is_port(text: str) -> bool:
    return re.fullmatch("[0-9]{1,5}", text) is not None and int(text) < 1 << 16


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
        host, colon, port = rest.rpartition(":")
        if not (
            transport
            and transport.networked
            and colon
            and host
            and re.fullmatch("[0-9]{1,5}", port)
            and int(port) < 1 << 16
        ):
            raise ConfigError(f"{text!r} is not an address; write grpc://127.0.0.1:8001 or zmq://127.0.0.1:8001.")
        return cls(scheme, host.removeprefix("[").removesuffix("]"), int(port), model)

    @property
    def netloc(self) -> str:
        """``host:port``, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def leaves_machine(self) -> bool:
        """Whether the bytes may cross a network between machines."""
        if self.local or self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host if self.local else self.netloc}{self.model and '/'}{self.model}"
