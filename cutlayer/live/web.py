"""The web server of a room in a thread of its own, over TLS or on this machine alone."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from cutlayer.errors import ConfigError, WireError
from cutlayer.live.connections import protocols
from cutlayer.wire.address import Address
from cutlayer.wire.reach import Endpoint, bind_all

MOST_WEBSOCKET_BYTES = 1 << 20
START_S, STOP_S = 30.0, 3.0
BACKLOG = 128


class Web:
    """A web server that listens from its creation. Close it after use.

    Args:
        app: The application, whose state has `closing`, an event, once it runs.
        address: Where to listen; port 0 takes a free one.
        cert: Certificate (PEM); plain text if left out.
        key: Its private key (PEM).
        most_connections: Connections at a time; see `cutlayer.live.connections`.

    Attributes:
        address: With the actual port.

    Raises:
        ConfigError: The certificate and its key do not belong together.
        WireError: It cannot listen there.
    """

    def __init__(
        self, app: Starlette, address: Address, cert: Path | None, key: Path | None, most_connections: int
    ) -> None:
        self._app, self._sockets = app, list[socket.socket]()
        port = bind_all(address, self._bind)
        self.address = Address(address.scheme, address.host, port)
        http, websockets = protocols(most_connections)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, lifespan="on", ws=websockets,
            ws_max_size=MOST_WEBSOCKET_BYTES, ws_ping_interval=10.0, ws_ping_timeout=20.0, timeout_keep_alive=30,
            h11_max_incomplete_event_size=16 << 10, http=http, loop="asyncio",
            timeout_graceful_shutdown=2, ssl_certfile=cert, ssl_keyfile=key,
        )  # fmt: skip
        try:
            config.load()
        except (ssl.SSLError, OSError) as error:
            self._close_sockets()
            raise ConfigError(f"{cert} and {key} are no certificate with its private key: {error}.") from None
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()
        if not self._started.wait(START_S):
            raise WireError(f"The web server does not begin at {address}.")

    def close(self) -> None:
        """Tell pages and devices that the room closes, and stop."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end)
        self._thread.join(2 * STOP_S)
        self._close_sockets()

    def _end(self) -> None:
        self._app.state.closing.set()
        self._server.should_exit = True

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        serving = asyncio.ensure_future(self._server.serve(sockets=self._sockets))
        while not (self._server.started or serving.done()):
            await asyncio.sleep(0.005)
        self._started.set()
        await serving
        # Over TLS, a connection waits for the last word of its browser, which may never come.
        connections = self._server.server_state.connections
        while connections:
            for connection in list(connections):
                connection.transport.abort()
            await asyncio.sleep(0.005)

    def _bind(self, endpoint: Endpoint) -> int:
        listening = socket.socket(endpoint.family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if endpoint.family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind((endpoint.host, endpoint.port))
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        self._sockets.append(listening)
        return int(listening.getsockname()[1])

    def _close_sockets(self) -> None:
        for listening in self._sockets:
            listening.close()
