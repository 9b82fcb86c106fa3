"""CURVE for ZeroMQ: every byte encrypted, both ends known by their keys, and a server's list of those it admits.

A key file is one line: 40 printable characters, the key in ZeroMQ's Z85.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from cutlayer.errors import ConfigError
from cutlayer.wire.security import Security, read

KEY_LENGTH = 40
_ZAP = "inproc://zeromq.zap.01"
_DOMAIN = b"cutlayer"
_PATIENCE_MS = 100


def read_key(path: Path) -> bytes:
    """A key in Z85.

    Raises:
        ConfigError: The file cannot be read, or holds no key.
    """
    key = read(path).strip()
    with contextlib.suppress(ValueError, KeyError, struct.error):
        if len(key) == KEY_LENGTH and len(z85.decode(key)) == 32:
            return key
    raise ConfigError(f"{path} holds no CURVE key; cutlayer certs init writes some.")


def client_options(security: Security) -> dict[str, Any]:
    """The socket options by which a client shows its key, and checks the server's. Raises ConfigError."""
    if security.curve_server is None:
        return {}
    secret = read_key(security.curve_key) if security.curve_key else zmq.curve_keypair()[1]
    return {
        "curve_serverkey": read_key(security.curve_server),
        "curve_secretkey": secret,
        "curve_publickey": zmq.curve_public(secret),
    }


def server_options(security: Security) -> dict[str, Any]:
    """The socket options by which a server demands keys of its clients. Raises ConfigError."""
    if security.curve_key is None:
        return {}
    secret = read_key(security.curve_key)
    options = {"curve_server": 1, "curve_secretkey": secret, "curve_publickey": zmq.curve_public(secret)}
    if security.allow is not None:
        if not allowed(security.allow):
            raise ConfigError(f"{security.allow} holds no public key, so nobody would be admitted.")
        # With a domain, nobody is admitted as long as nobody decides.
        options["zap_domain"] = _DOMAIN
    return options


def allowed(path: Path) -> list[bytes]:
    """The public keys in a file, or in a folder's ``*.pub``. Raises ConfigError."""
    return [read_key(one) for one in (sorted(path.glob("*.pub")) if path.is_dir() else [path])]


class Doorkeeper:
    """Decides for the servers of one ZeroMQ context which keys may enter (ZAP). The list is read at each handshake.

    Args:
        context: Its sockets ask here.
        allow: See `allowed`.
    """

    def __init__(self, context: Any, allow: Path) -> None:
        self._allow = allow
        self._socket = context.socket(zmq.REP)
        self._socket.linger, self._socket.rcvtimeo = 0, _PATIENCE_MS
        self._socket.bind(_ZAP)
        self._closing = False
        self._thread = threading.Thread(target=self._decide_all, name="zmq-doorkeeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Admit nobody any more."""
        self._closing = True
        self._thread.join()

    def _decide_all(self) -> None:
        while not self._closing:
            with contextlib.suppress(zmq.Again):
                version, request, *asked = self._socket.recv_multipart()
                code, words = (b"200", b"") if self._admits(asked) else (b"400", b"This key is not on the list.")
                self._socket.send_multipart([version, request, code, words, b"", b""])
        self._socket.close(linger=0)

    def _admits(self, asked: list[bytes]) -> bool:
        # Domain, address, identity, mechanism, and the mechanism's own: here the public key.
        if len(asked) != 5 or asked[0] != _DOMAIN or asked[3] != b"CURVE":
            return False
        try:
            return z85.encode(asked[4]) in allowed(self._allow)
        except ConfigError:
            return False
