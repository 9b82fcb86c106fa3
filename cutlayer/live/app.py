"""The web server of a room: pages, the device's half of the split, what devices say, and what pages watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from cutlayer.errors import CutlayerError
from cutlayer.live.described import described
from cutlayer.live.device import Denied
from cutlayer.live.gateway import device_socket
from cutlayer.live.headers import Headers
from cutlayer.live.originals import most_bytes
from cutlayer.live.phone import routes as phone_routes
from cutlayer.live.room import Room
from cutlayer.live.runtime import ONNX, TOKENIZERS, Runtime
from cutlayer.live.screen import watch
from cutlayer.live.tokens import Tokens
from cutlayer.models.manifest import HEAD_ONNX, HEAD_WEIGHTS, LEARNED, MANIFEST, TAIL_ONNX, TAIL_WEIGHTS
from cutlayer.split_folder import SplitFolder
from cutlayer.wire.transport import Handler

STATIC = Path(__file__).with_name("static")
POLL_S = 25.0
MOST_JSON_BYTES = 16 << 10
BODY_S = 10.0
"""Seconds in which the body of a request must be complete."""
MOST_NAME = 80

_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
_TYPES |= {".mjs": "text/javascript", ".wasm": "application/wasm"}
_NOT_OF_DEVICES = (HEAD_WEIGHTS, TAIL_WEIGHTS, TAIL_ONNX)


def application(
    room: Room, service: Handler, split: SplitFolder, tokens: Tokens, authority: bytes | None = None
) -> Starlette:
    """The web server's application.

    Args:
        room: The room.
        service: Answers the requests of phones.
        split: The split folder, of which devices get `split.json`, the head and what the defense learned.
        tokens: What visitors have to show.
        authority: Certificate (PEM) of the authority that signed the server's, which phones may fetch.

    Raises:
        ConfigError: Phones are to make tokens of text, and the package tokenizers is not installed here.
    """
    routes = [
        Route("/", _page("room.html")),
        Route("/phone", _page("phone.html")),
        Route("/join", _to_phone),
        Route("/static/{name}", _static),
        Route("/split/{name}", _for_devices(_half)),
        Route("/device", _for_devices(_join), methods=["POST"]),
        Route("/device/{id}", _for_devices(_leave), methods=["DELETE"]),
        Route("/device/{id}/wish", _for_devices(_wish)),
        Route("/device/{id}/status", _for_devices(_status), methods=["POST"]),
        Route("/device/{id}/original", _for_devices(_original), methods=["POST"]),
        WebSocketRoute("/device/ws", _same_origin(device_socket)),
        WebSocketRoute("/watch", _same_origin(watch)),
        *phone_routes(),
    ]
    app = Starlette(routes=routes, exception_handlers={CutlayerError: _sentence}, lifespan=_lifespan)
    app.state.room, app.state.service, app.state.split, app.state.tokens = room, service, split, tokens
    app.state.runtime = Runtime(ONNX, TOKENIZERS) if split.manifest.sequence else Runtime(ONNX)
    app.state.described, app.state.authority = {} if room.read_only else described(split), authority
    app.add_middleware(Headers)
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.closing = asyncio.Event()
    yield


def from_elsewhere(connection: HTTPConnection) -> bool:
    """Whether a browser says that the request comes from a page of another server; other clients say nothing."""
    origin = connection.headers.get("origin")
    if origin is None:
        return False
    try:
        given = urlsplit(origin)
    except ValueError:
        return True
    secure = connection.url.scheme in ("https", "wss")
    return given.scheme != ("https" if secure else "http") or given.netloc != connection.headers.get("host")


def _same_origin(endpoint: Callable[[WebSocket], Awaitable[None]]) -> Callable[[WebSocket], Awaitable[None]]:
    async def connect(websocket: WebSocket) -> None:
        if from_elsewhere(websocket):
            await websocket.close(4403, "This page is not one of this server.")  # before it is accepted: status 403
            return
        await endpoint(websocket)

    return connect


def _for_devices(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if from_elsewhere(request):
            raise Denied(403, "This page is not one of this server.")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not request.app.state.tokens.is_join(token):
            raise Denied(
                401, "The token is not one of this room; copy the join code that `cutlayer live` has printed last."
            )
        return await endpoint(request)

    return answer


async def _sentence(_: HTTPConnection, error: Exception) -> Response:
    status = error.status if isinstance(error, Denied) else 400
    return JSONResponse({"error": str(error)}, status)


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(_: Request) -> Response:
        return _file(STATIC / name)

    return page


async def _to_phone(_: Request) -> Response:
    """A browser that opens a join code is a phone; browsers keep what stands behind #."""
    return RedirectResponse("/phone")


async def _static(request: Request) -> Response:
    return _file(STATIC / request.path_params["name"])


def _file(path: Path | None) -> Response:
    if path is None or path.suffix not in _TYPES or len(path.name) > MOST_NAME or not path.is_file():
        return PlainTextResponse("There is no such page.\n", 404)
    return FileResponse(path, media_type=_TYPES[path.suffix], headers={"Cache-Control": "no-cache"})


async def _half(request: Request) -> Response:
    name, split = request.path_params["name"], request.app.state.split
    files = {MANIFEST, HEAD_ONNX, LEARNED} | split.manifest.files.keys() - set(_NOT_OF_DEVICES)
    if name not in files or not (split.path / name).is_file():
        raise Denied(404, "The device's half of this split has no such file.")
    path = split.path / name if name == MANIFEST else split.file(name)
    return FileResponse(path, media_type="application/octet-stream")


async def _join(request: Request) -> Response:
    room: Room = request.app.state.room
    device = room.join(_json(await _body(request, MOST_JSON_BYTES)))
    return JSONResponse(room.welcome(device))


async def _leave(request: Request) -> Response:
    request.app.state.room.leave(request.path_params["id"])
    return Response(status_code=204)


async def _wish(request: Request) -> Response:
    room: Room = request.app.state.room
    id, after = request.path_params["id"], _count(request.query_params.get("after", "0"), "after")
    room.polling(id, begins=True)
    try:
        waiting = asyncio.ensure_future(room.wish_after(id, after, POLL_S))
        left = asyncio.ensure_future(_disconnected(request))
        closing = asyncio.ensure_future(request.app.state.closing.wait())
        await asyncio.wait({waiting, left, closing}, return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, left, closing):
            if not task.done():
                task.cancel()
        if left.done() and not left.cancelled():
            room.gone_quiet(id)
            return Response(status_code=204)
        found = waiting.result() if waiting.done() and not waiting.cancelled() else None
    finally:
        room.polling(id, begins=False)
    if found is None:
        return Response(status_code=204)
    number, wish = found
    return JSONResponse({"number": number, "wish": wish.to_json()})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _status(request: Request) -> Response:
    request.app.state.room.report(request.path_params["id"], _json(await _body(request, MOST_JSON_BYTES)))
    return Response(status_code=204)


async def _original(request: Request) -> Response:
    room: Room = request.app.state.room
    frame = _count(request.headers.get("x-frame", ""), "X-Frame")
    sent = await _body(request, most_bytes(room.manifest))
    room.original(request.path_params["id"], frame, sent)
    return Response(status_code=204)


async def _body(request: Request, most: int) -> bytes:
    """The body of a request. Raises `Denied` where it is too large or too slow."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise Denied(413, f"At most {most:,} bytes can be sent here.")
                parts.append(part)
    except TimeoutError:
        raise Denied(408, f"The body of the request did not come within {BODY_S:g} s.") from None
    return b"".join(parts)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Denied(400, "The body of the request is no JSON.") from None


def _count(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise Denied(400, f"{name} is a whole number of 0 or more.")
    return int(text)
