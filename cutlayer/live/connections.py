"""Connections to the web server of a room: nobody holds one without a request, and nobody holds all of them."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from cutlayer.wire.peer import network
from cutlayer.wire.places import Places

HEAD_S = 10.0
"""Seconds in which a request must have begun, and its head must be complete."""


def protocols(most: int) -> tuple[type[asyncio.Protocol], type[asyncio.Protocol]]:
    """The protocols of HTTP and of WebSockets for uvicorn, whose connections share so many places.

    A visitor, known by the address, may take a place while it holds fewer than three times the free ones; see
    `cutlayer.wire.places`. Who gets none is hung up on.
    """
    places = Places(most)

    class Http(H11Protocol):
        _party: str | None = None
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            party = _party(transport)
            if not places.take(party):
                transport.abort()
                return
            self._party = party
            self._wait(None)

        def connection_lost(self, exc: Exception | None) -> None:
            self._give_back()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._give_back()
            super().handle_websocket_upgrade(event)

        def _wait(self, before: object) -> None:
            """Hang up where no request came since the last look, and none is being answered."""
            answering = self.cycle is not None and not self.cycle.response_complete
            if self._timer is not None and not answering and self.cycle is before:
                self.transport.abort()
                return
            self._timer = self.loop.call_later(HEAD_S, self._wait, self.cycle)

        def _give_back(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
            if self._party is not None:
                places.leave(self._party)
                self._party = None

    class WebSockets(WebSocketsSansIOProtocol):
        _party: str | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            party = _party(transport)
            if not places.take(party):
                self.transport.abort()
                return
            self._party = party

        def connection_lost(self, exc: Exception | None) -> None:
            if self._party is not None:
                places.leave(self._party)
                self._party = None
            super().connection_lost(exc)

    return Http, WebSockets


def _party(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return network(str(peer[0])) if isinstance(peer, tuple) and peer else ""
