"""The WebSocket of the big screen: it is told what changes, and says what devices should do."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from cutlayer.edge.wishes import Wish
from cutlayer.errors import ConfigError
from cutlayer.live.device import Denied
from cutlayer.live.room import Changes, Room

MOST_TEXT_BYTES = 4096
GREETING_S = 10.0
"""Seconds in which a page has to show its token."""
LEAST_PAUSE_S = 0.1
"""Pause between two reports, which each have what is newest then."""
QUIET_S = 1.0
"""Devices are looked after, and shown as gone, at least as often."""
SLOW_S = 20.0
"""Seconds that a page may take to read a report."""

_EXPECTED = (WebSocketDisconnect, asyncio.CancelledError, TimeoutError)
UNKNOWN, BAD = 4401, 4400
"""Codes with which the connection of a page is closed: a wrong token, a message that cannot be read."""


async def watch(websocket: WebSocket) -> None:
    """Serve one page until it closes its connection."""
    await websocket.accept()
    try:
        async with asyncio.timeout(GREETING_S):
            greeting = await _receive(websocket)
    except (TimeoutError, Denied) as error:
        why = str(error) or f"A page shows its token within {GREETING_S:g} s."
        await _close(websocket, BAD, why)
        return
    except WebSocketDisconnect:
        return
    if not websocket.app.state.tokens.is_screen(greeting.get("token")):
        await _close(websocket, UNKNOWN, "The token is not that of this room.")
        return
    telling = asyncio.create_task(_tell(websocket), name="tell")
    listening = asyncio.create_task(_listen(websocket), name="listen")
    closing = asyncio.create_task(websocket.app.state.closing.wait(), name="closing")
    tasks = {telling, listening, closing}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, Denied):
            await _close(websocket, BAD, str(outcome))
            return
        if isinstance(outcome, BaseException) and not isinstance(outcome, _EXPECTED):
            raise outcome
    await _close(websocket, 1001, "The room closes.")


async def _tell(websocket: WebSocket) -> None:
    room: Room = websocket.app.state.room
    told: dict[str, tuple[int, int]] = {}
    version = 0
    with Changes(room) as changes:
        while True:
            began = time.monotonic()
            if room.version != version:
                version = room.version
                await _send(websocket, room.message())
            for message in room.messages(told):
                await _send(websocket, message)
            await asyncio.sleep(max(0.0, LEAST_PAUSE_S - (time.monotonic() - began)))
            await changes.wait(QUIET_S)


async def _send(websocket: WebSocket, message: dict[str, Any]) -> None:
    try:
        async with asyncio.timeout(SLOW_S):
            await websocket.send_text(json.dumps(message, separators=(",", ":"), allow_nan=False))
    except RuntimeError:  # closed meanwhile
        raise WebSocketDisconnect from None


async def _listen(websocket: WebSocket) -> None:
    room: Room = websocket.app.state.room
    while True:
        said = await _receive(websocket)
        if said.get("type") == "wish" and isinstance(said.get("id"), str):
            try:
                wish = Wish.read(said.get("wish"))
            except ConfigError as error:
                raise Denied(400, str(error)) from None
            try:
                room.wish(said["id"], wish)
            except Denied:
                continue  # the device has left while the page asked
        elif said.get("type") == "attackers" and _are_names(said.get("names")):
            room.choose(said["names"])
        else:
            raise Denied(400, "A page sends a wish, with the id of a device, or the names of attackers.")


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


async def _receive(websocket: WebSocket) -> dict[str, Any]:
    received = await websocket.receive()
    if received["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(received.get("code", 1005))
    text = received.get("text")
    if text is None or len(text.encode()) > MOST_TEXT_BYTES:
        raise Denied(400, f"A page sends text of at most {MOST_TEXT_BYTES:,} bytes.")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise Denied(400, "A page sends JSON objects.")
    return said


async def _close(websocket: WebSocket, code: int, why: str) -> None:
    if websocket.application_state is WebSocketState.CONNECTED and websocket.client_state is WebSocketState.CONNECTED:
        try:
            await websocket.close(code, why.encode()[:120].decode("utf-8", "ignore"))
        except RuntimeError:  # closed meanwhile
            return
