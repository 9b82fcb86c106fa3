"""CURVE for ZeroMQ: encryption, keys that identify both ends, and a server's list of admitted clients.

A key file is one line of 40 printable characters: the key in ZeroMQ's Z85 encoding.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from functools import partial
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from cutlayer.errors import ConfigError
from cutlayer.wire.kept import Kept
from cutlayer.wire.peer import UNKNOWN, plain
from cutlayer.wire.security import Security, read
from cutlayer.wire.visitors import Visitors

KEY_LENGTH = 40
_ZAP = "inproc://zeromq.zap.01"
_DOMAIN = b"cutlayer"
_PATIENCE_MS = 100

NOBODY = b"nobody"
"""Contents of an allow-list that admits no client on purpose; an empty one may be about to be written."""


def read_key(path: Path) -> bytes:
    """Return the key in a file, in Z85. Raises ConfigError if the file cannot be read or holds no key."""
    key = read(path).strip()
    with contextlib.suppress(ValueError, KeyError, struct.error):
        if len(key) == KEY_LENGTH and len(z85.decode(key)) == 32:
            return key
    raise ConfigError(f"{path} holds no CURVE key; `cutlayer certs init` writes valid key files.")


def client_options(security: Security) -> dict[str, Any]:
    """Return the socket options of a client: its key, and the server's to verify. Raises ConfigError."""
    if security.curve_server is None:
        return {}
    secret = read_key(security.curve_key) if security.curve_key else zmq.curve_keypair()[1]
    return {
        "curve_serverkey": read_key(security.curve_server),
        "curve_secretkey": secret,
        "curve_publickey": zmq.curve_public(secret),
    }


def server_options(security: Security) -> dict[str, Any]:
    """Return the socket options of a server that requires keys of its clients. Raises ConfigError."""
    if security.curve_key is None:
        return {}
    secret = read_key(security.curve_key)
    options = {"curve_server": 1, "curve_secretkey": secret, "curve_publickey": zmq.curve_public(secret)}
    if security.allow is not None:
        allowed(security.allow)
        # With a domain, ZeroMQ admits no client without an answer from `Doorkeeper`.
        options["zap_domain"] = _DOMAIN
    return options


def allowed(path: Path) -> frozenset[bytes]:
    """Return the public keys in a file, or in a folder's ``*.pub``, of which `NOBODY` stands for none.

    Raises:
        ConfigError: A file holds something else, or there is none.
    """
    files = sorted(path.glob("*.pub")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(
            f"{path} holds no public key, so no client would be admitted; add a *.pub file, or, if that is meant, one "
            f"with the word {NOBODY.decode()}."
        )
    return frozenset(read_key(file) for file in files if read(file).strip() != NOBODY)


class Doorkeeper:
    """Decides which keys the servers of one ZeroMQ context admit (ZAP): those that are, or were last, on the list.

    Args:
        context: The context.
        allow: See `Security`.
        visitors: The log of the server.
    """

    def __init__(self, context: Any, allow: Path, visitors: Visitors) -> None:
        self._allow, self._visitors = allow, visitors
        self._list = Kept(partial(allowed, allow))
        self._removed: set[bytes] = set()
        self._socket = context.socket(zmq.REP)
        self._socket.linger, self._socket.rcvtimeo = 0, _PATIENCE_MS
        self._socket.bind(_ZAP)
        self._closing = False
        self._thread = threading.Thread(target=self._decide_all, name="zmq-doorkeeper", daemon=True)
        self._thread.start()

    def look(self) -> bool:
        """Read the list again now and then; return whether a key was removed from it since."""
        before = self._list.value
        if not self._list.look():
            return False
        # In place, because the other thread may take back a key meanwhile.
        self._removed |= before
        self._removed -= self._list.value
        return not before <= self._list.value

    def lists(self, identity: str) -> bool:
        """Return whether this key, see `Peer`, is on the list."""
        return identity.encode() in self._list.value

    def removed(self, identity: str) -> bool:
        """Return whether this key was on the list and is no longer."""
        return identity.encode() in self._removed

    def close(self) -> None:
        """Stop deciding; no client is admitted from then on."""
        self._closing = True
        self._thread.join()

    def _decide_all(self) -> None:
        while not self._closing:
            with contextlib.suppress(zmq.Again):
                version, request, *credentials = self._socket.recv_multipart()
                admitted = self._admits(credentials)
                # The user of the connection's messages; see `SharedSocket.user`.
                user = z85.encode(credentials[4]) if admitted else b""
                if not admitted:
                    host = credentials[1].decode("ascii", "replace") if len(credentials) > 1 else UNKNOWN
                    self._visitors.turned_away(plain(host), "key", f"its CURVE key is not in {self._allow}.")
                status, text = (b"200", b"") if admitted else (b"400", b"This key is not on the list.")
                self._socket.send_multipart([version, request, status, text, user, b""])
        self._socket.close(linger=0)

    def _admits(self, credentials: list[bytes]) -> bool:
        # Domain, address, identity, mechanism, and the public key for the mechanism CURVE.
        if len(credentials) != 5 or credentials[0] != _DOMAIN or credentials[3] != b"CURVE":
            return False
        key = z85.encode(credentials[4])
        if key in self._list.value:
            return True
        # A new key is admitted at once.
        with contextlib.suppress(ConfigError):
            if key in allowed(self._allow):
                self._removed.discard(key)
                return True
        return False
