"""Where a server listens, and by which transport it is reached.

grpc://192.0.2.7:8001         the Open Inference Protocol over HTTP/2
zmq://127.0.0.1:0             multi-part ZeroMQ frames; port 0 lets the server take a free one
oip+grpc://HOST:PORT/MODEL    any server of the Open Inference Protocol that hosts an exported tail, by that name
inprocess://any-name          a function call, for tests and simulations
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from cutlayer.errors import ConfigError
from cutlayer.registry import TRANSPORTS


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. In-process ones have a name for a host, and no port; `model` is another server's."""

    scheme: str
    host: str
    port: int = 0
    model: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``scheme://host:port``, ``oip+grpc://host:port/model`` or ``inprocess://name``.

        Raises:
            ConfigError: It is none, or there is no such transport.
        """
        scheme, mark, rest = text.partition("://")
        if mark and scheme == "inprocess" and rest:
            return cls(scheme, rest)
        model = ""
        if mark and scheme == "oip+grpc":
            rest, _, model = rest.partition("/")
        host, colon, port = rest.rpartition(":")
        if not (mark and colon and host and port.isdecimal() and int(port) < 1 << 16):
            raise ConfigError(f"{text!r} is no address; write grpc://127.0.0.1:8001 or zmq://127.0.0.1:8001.")
        _ = TRANSPORTS[scheme]
        return cls(scheme, host.removeprefix("[").removesuffix("]"), int(port), model)

    @property
    def netloc(self) -> str:
        """``host:port``, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def leaves_machine(self) -> bool:
        """Whether the bytes may be seen by other machines."""
        if self.scheme == "inprocess" or self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True

    def __str__(self) -> str:
        where = self.host if self.scheme == "inprocess" else self.netloc
        return f"{self.scheme}://{where}{self.model and '/'}{self.model}"
