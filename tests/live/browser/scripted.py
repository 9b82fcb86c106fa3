"""A room whose messages a test writes, for what is seldom seen of a real one: training, refusals, 50 devices."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from cutlayer.live.headers import Headers
from cutlayer.live.pictures import bytes_of, data_url

STATIC = Path(__file__).parents[3] / "cutlayer/live/static"
TOKEN = "a-token"
STEPS = (0, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Scripted:
    """What a test tells the pages that watch, and what they said."""

    def __init__(self) -> None:
        self.pages: set = set()
        self.heard: list[dict] = []
        self.last: dict[tuple, str] = {}
        self.address = ""
        self.loop: asyncio.AbstractEventLoop | None = None

    def tell(self, **message) -> None:
        """Tell all pages, and those that come later what is newest of each kind and device."""
        text = json.dumps(message)
        self.last[message["type"], message.get("id")] = text
        asyncio.run_coroutine_threadsafe(self._tell(text), self.loop).result(10)

    async def _tell(self, text: str) -> None:
        for page in list(self.pages):
            await page.send_text(text)

    def hang_up(self) -> None:
        """Cut the connection of every page, and forget what was told and heard."""
        self.last.clear()
        self.heard.clear()
        asyncio.run_coroutine_threadsafe(self._hang_up(), self.loop).result(10)

    async def _hang_up(self) -> None:
        for page in list(self.pages):
            await page.close(1012)

    async def watch(self, websocket) -> None:
        await websocket.accept()
        try:
            if (await websocket.receive_json())["token"] != TOKEN:
                await websocket.close(4401, "The token is not that of this room.")
                return
            for text in [*self.last.values()]:
                await websocket.send_text(text)
            self.pages.add(websocket)
            while True:
                self.heard.append(await websocket.receive_json())
        except WebSocketDisconnect:
            return
        finally:
            self.pages.discard(websocket)


@contextmanager
def scripted() -> Iterator[Scripted]:
    """A server with the page, and nothing behind it."""
    room = Scripted()

    async def page(_):
        return FileResponse(STATIC / "room.html")

    async def static(request):
        return FileResponse(STATIC / request.path_params["name"])

    routes = [Route("/", page), Route("/static/{name}", static), WebSocketRoute("/watch", room.watch)]
    app = Starlette(routes=routes)
    app.add_middleware(Headers)
    ready = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            room.loop = asyncio.get_running_loop()
            port = self.servers[0].sockets[0].getsockname()[1]
            room.address = f"http://127.0.0.1:{port}/#{TOKEN}"
            ready.set()

    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off", ws="websockets-sansio")
    server = Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(30)
        yield room
    finally:
        room.hang_up()
        server.should_exit = True
        thread.join(30)


def room_message(**changes) -> dict:
    """What a page is told of a room with two attackers."""
    names = ("gaussian-noise", "laplace-noise", "dropout", "top-k", "quantize")
    switchable = [
        {"defense": name, "title": name.replace("-", " "), "knob": "sigma", "values": STEPS, "javascript": True}
        for name in names
    ]
    attackers = [
        {"name": "ridge", "title": "Ridge regression", "ready": True, "progress": 1.0, "words": "ready"},
        {"name": "decoder", "title": "Decoder", "ready": True, "progress": 1.0, "words": "ready"},
    ]
    split = {"model": "convnet", "cut": "conv2", "input": [1, 64, 64], "smashed": [16, 32, 32], "data": "lfw"}
    join = {"code": "http://127.0.0.1:8443/join#T0kenT0ken", "qr": ""}
    said = {"type": "room", "split": split, "labels": ["a"], "attackers": attackers, "switchable": switchable}
    return said | {"chosen": ["ridge", "decoder"], "codecs": ["raw", "int8"], "join": join} | changes


def device_message(id: str = "d1", **changes) -> dict:
    """What a page is told of a device that shares its pictures."""
    stages = {"head": 3.1, "protect": 0.4, "encode": 0.2, "network": 1.2, "queue": 0.1, "decode": 0.1, "tail": 2.4}
    said = {
        "type": "device", "id": id, "name": "door-camera", "kind": "python", "connected": True, "last_ns_ago": 0,
        "fps": 12.3, "defense": "none", "wish": {"defense": "none", "options": {}, "codec": "raw"}, "refused": None,
        "wish_number": 1,
        "prediction": {"label": "a", "share": 0.97}, "bytes": 4112, "end_to_end_ms": 7.8, "stages_ms": stages,
        "shares_original": True,
    }  # fmt: skip
    return said | changes


def frame_message(
    image, rebuilt, id: str = "d1", frame: int = 1, leakage: float | None = 0.8, candidate=None, prediction=None
) -> dict:
    """A frame of which the ridge and the decoder have rebuilt the same; images are ``(C, H, W)`` in [0, 1]."""
    shown = data_url(bytes_of(np.asarray(rebuilt)))
    pictures = [
        {"attacker": name, "picture": shown, "leakage_gain": leakage, "psnr_db": None if leakage is None else 21.3}
        for name in ("ridge", "decoder")
    ]
    original = None if image is None else data_url(bytes_of(np.asarray(image)))
    said = {"type": "frame", "id": id, "frame": frame, "original": original, "rebuilt": pictures}
    return said | {"candidate": candidate, "prediction": prediction}
