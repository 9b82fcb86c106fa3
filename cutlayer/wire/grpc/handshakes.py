"""TLS handshakes that fail: gRPC tells a server of none.

gRPC calls a function before each handshake. The connection is then the one of this process that no call has come from.
If it ends without a call, its handshake has failed.
"""

from __future__ import annotations

import threading

from cutlayer.wire.peer import name
from cutlayer.wire.sockets import Sockets
from cutlayer.wire.visitors import Visitors

WHY = (
    "The TLS handshake failed: it shows no certificate that --ca has signed, does not trust this server's certificate, "
    "or speaks plain text."
)
_LOOK_S = 0.2


class Handshakes:
    """The connections of a server with TLS from which no call has come yet. Close it after use.

    Args:
        visitors: The log of the server.

    Attributes:
        port: Port of the server, once it is known.
    """

    def __init__(self, visitors: Visitors) -> None:
        self.port = 0
        self._sockets: Sockets | None = None
        self._visitors = visitors
        self._waiting: set[str] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._watch, name="grpc-handshakes", daemon=True)

    def begun(self) -> None:
        """Note the connection whose handshake begins now. gRPC's own thread calls it."""
        with self._changed:
            self._waiting |= {peer for peer in self._peers() if not self._visitors.knows(peer)}
            if self._thread.ident is None:
                self._thread.start()
            self._changed.notify_all()

    def called(self, peer: str) -> None:
        """Note a call from a client, so that its handshake has succeeded."""
        if peer in self._waiting:
            with self._changed:
                self._waiting.discard(peer)

    def close(self) -> None:
        """Stop watching."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        with self._changed:
            while not self._closing:
                if not self._waiting:
                    self._changed.wait()
                    continue
                self._changed.wait(_LOOK_S)
                failed = self._waiting - self._peers()
                self._waiting -= failed
                for peer in failed:
                    self._visitors.turned_away(peer, "tls", WHY)

    def _peers(self) -> set[str]:
        """Return the clients that are connected to the server, as ``host:port``. Hold the lock."""
        # Not with psutil, which reads a table of the whole machine: a storm of handshakes would stop the server.
        self._sockets = self._sockets or Sockets(self.port)
        return {name(*end) for end in self._sockets.look().values()}
