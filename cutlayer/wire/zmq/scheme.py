"""The ZeroMQ transport, as addresses and security options need to know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutlayer.errors import ConfigError
from cutlayer.wire.scheme import Scheme

if TYPE_CHECKING:
    from cutlayer.wire.security import Security


class Zmq(Scheme):
    """Multi-part ZeroMQ messages over TCP, with CURVE and a list of admitted keys."""

    client = "cutlayer.wire.zmq.client:ZmqClient"
    server = "cutlayer.wire.zmq.server:ZmqServer"
    package = "pyzmq"
    files = ("curve_key", "curve_server", "allow")
    encrypted_by = ("curve_key", "curve_server")

    def check_files(self, security: Security, *, listening: bool) -> None:
        """See `Scheme.check_files`."""
        if listening and security.curve_server:
            raise ConfigError("--curve-server is an option of clients; give a server its own --curve-key instead.")
        if listening and security.allow and not security.curve_key:
            raise ConfigError("--allow needs --curve-key; without encryption no client can prove its key.")
        if not listening and security.allow:
            raise ConfigError("--allow is an option of servers; leave it out at a client.")
        if not listening and security.curve_key and not security.curve_server:
            raise ConfigError("A client with --curve-key must know the server's public key; give --curve-server too.")
