"""The WebSocket of a phone: frames of the wire in, answers out, and beside them what a device and its room say.

A phone first sends a text: the JSON with which every device joins, with its ``token``. The room answers ``joined``.
Then, in any order:

* binary, both ways: one message of the wire. Each of its parts, the frame with prefix and header and then one for each
  tensor, comes behind its length (unsigned, 32 bits, little-endian). The parts are those of ZeroMQ in
  `proto/README.md`, and the service that takes them is the one behind gRPC and ZeroMQ, with its checks and limits.
* text from the phone: ``status``, ``original``, or ``join`` again where its user has changed what is shared.
* text to the phone: ``wish``; ``denied`` with the status and a sentence for what cannot be done.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import struct
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from cutlayer.cloud.admission import busy
from cutlayer.errors import DecodeError, Refused
from cutlayer.live.device import Denied, Device
from cutlayer.live.originals import most_bytes
from cutlayer.live.room import Room
from cutlayer.wire.codecs.base import Buffer
from cutlayer.wire.handshake import error_reply
from cutlayer.wire.message import Message
from cutlayer.wire.peer import UNKNOWN, Peer, at
from cutlayer.wire.protobuf import MAX_TENSORS
from cutlayer.wire.transport import Caller, Handler, nothing, refusal
from cutlayer.wire.zmq.frames import correlation_of, pack, unpack

MOST_BYTES = 1 << 20
"""Bytes of a message; the web server ends a connection that sends more."""
MOST_TEXT_BYTES = 16 << 10
"""Bytes of a text, but for an original."""
MOST_UNANSWERED = 8
"""Requests of one phone that are worked on; further ones are refused until one of them is answered."""
MOST_UNREAD = 64
"""Answers that a phone leaves unread before its connection ends."""
GREETING_S, SLOW_S, WISH_S = 10.0, 20.0, 25.0
"""Seconds for the first text, for a phone to take what it is sent, and between two looks for a wish."""
RETRY_MS = 200
"""Time after which a phone sends a request again that came while too many of its own waited."""
BAD, UNKNOWN_TOKEN, FULL = 4400, 4401, 4429
"""Codes of closed connections, beside 1001 for a room that closes."""

_LENGTH = struct.Struct("<I")
_EXPECTED = (WebSocketDisconnect, asyncio.CancelledError, TimeoutError)


def join(parts: Sequence[Buffer]) -> bytes:
    """One binary message from the parts of a message of the wire."""
    return b"".join(piece for part in parts for piece in (_LENGTH.pack(len(part)), part))


def split(message: bytes) -> list[Buffer]:
    """Undo `join`.

    Raises:
        DecodeError: The lengths do not fit the bytes, or there are more parts than a message has.
    """
    if len(message) > MOST_BYTES:
        raise DecodeError(f"A message of {len(message):,} bytes exceeds the {MOST_BYTES:,} that a phone may send.")
    view, parts, start = memoryview(message), list[Buffer](), 0
    while start < len(message):
        if len(parts) > MAX_TENSORS:
            raise DecodeError(f"A message holds at most {MAX_TENSORS} tensors.")
        if start + _LENGTH.size > len(message):
            raise DecodeError("The message ends in the middle of a length.")
        begin = start + _LENGTH.size
        start = begin + _LENGTH.unpack_from(view, start)[0]
        if start > len(message):
            raise DecodeError("The message ends in the middle of a part.")
        parts.append(view[begin:start])
    return parts


def take(
    message: bytes, service: Handler, peer: Peer, gone: Callable[[], bool], send: _Send, *, full: bool = False
) -> None:
    """Give one binary message to the service, or send the refusal of what is none, or comes while it is too full.

    Raises nothing.
    """
    arrived_ns, parts = time.monotonic_ns(), list[Buffer]()
    try:
        parts = split(message)
        request, correlation = unpack(parts)
    except DecodeError as error:
        send(correlation_of(parts), refusal(error), nothing)
        return
    if full:
        send(correlation, busy(RETRY_MS), nothing)
        return
    service.submit(request, arrived_ns, Caller(peer, gone, partial(send, correlation)))


_Send = Callable[[int, Message | Refused, Callable[[], None]], None]
"""Sends the answer with this correlation; see `Caller.answer`."""


async def device_socket(websocket: WebSocket) -> None:
    """Serve one phone until it leaves. The origin has been checked."""
    await websocket.accept()
    try:
        async with asyncio.timeout(GREETING_S):
            device = await _greeted(websocket)
    except Denied as denied:
        await _close(
            websocket, UNKNOWN_TOKEN if denied.status == 401 else FULL if denied.status == 429 else BAD, denied
        )
        return
    except TimeoutError:
        await _close(websocket, BAD, Denied(408, f"A phone shows its token within {GREETING_S:g} s."))
        return
    except WebSocketDisconnect:
        return
    room: Room = websocket.app.state.room
    with contextlib.suppress(Denied):
        room.polling(device.id, begins=True)
    phone = _Phone(websocket, room, device)
    try:
        await phone.serve()
    finally:
        with contextlib.suppress(Denied):
            room.polling(device.id, begins=False)
        if not device.polls:  # the phone may have come back by another connection
            room.gone_quiet(device.id)


async def _greeted(websocket: WebSocket) -> Device:
    asked = _object(await _receive(websocket))
    state = websocket.app.state
    if not state.tokens.is_join(asked.pop("token", None)):
        raise Denied(
            401,
            "The token is not one of this room; scan the code on the big screen again, "
            "or open the address that `cutlayer live` prints behind `phones`.",
        )
    return _let_in(state.room, asked)


def _let_in(room: Room, asked: dict[str, Any]) -> Device:
    if asked.get("kind") != "phone":
        raise Denied(400, "Only phones join here; other devices join with POST /device.")
    device: Device = room.join(asked)
    return device


class _Phone:
    """One connection. All but `_answer` runs in the event loop, so that nothing is left in the queue at its end."""

    def __init__(self, websocket: WebSocket, room: Room, device: Device) -> None:
        self._websocket, self._room, self._device = websocket, room, device
        self._service: Handler = websocket.app.state.service
        self._loop = asyncio.get_running_loop()
        self._gone = False
        self._unanswered = 0
        self._out: asyncio.Queue[tuple[bytes, Callable[[], None]]] = asyncio.Queue()
        client = websocket.client
        self._peer = Peer(self, UNKNOWN) if client is None else at(self, client.host, client.port)

    async def serve(self) -> None:
        """Take what comes and send what is due, until either side ends it."""
        websocket = self._websocket
        await self._say({"type": "joined", **self._welcome()})
        works = (self._listen(), self._tell(), self._send(), websocket.app.state.closing.wait())
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._gone = True
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            while not self._out.empty():
                self._out.get_nowait()[1]()
        for outcome in ended:
            if isinstance(outcome, Denied):
                await _close(websocket, BAD, outcome)
                return
            if isinstance(outcome, BaseException) and not isinstance(outcome, _EXPECTED):
                raise outcome
        await _close(websocket, 1001, None)

    def _welcome(self) -> dict[str, Any]:
        return {**self._room.welcome(self._device), **self._websocket.app.state.described}

    async def _listen(self) -> None:
        while True:
            received = await _receive(self._websocket)
            if isinstance(received, bytes):
                full = self._unanswered >= MOST_UNANSWERED
                self._unanswered += 1
                if self._unanswered > MOST_UNREAD:
                    raise Denied(400, f"A phone reads its answers; {MOST_UNREAD} of them wait.")
                take(received, self._service, self._peer, lambda: self._gone, self._answer, full=full)
            else:
                await self._hear(_object(received, most_bytes(self._room.manifest)))

    async def _hear(self, said: dict[str, Any]) -> None:
        kind = said.pop("type", None)
        try:
            if kind == "status":
                self._room.report(self._device.id, said)
            elif kind == "original":
                self._room.original(self._device.id, _count(said.get("frame")), _pixels(said.get("data")))
            elif kind == "join":
                said.pop("token", None)
                self._device = _let_in(self._room, said)
                await self._say({"type": "joined", **self._welcome()})
            else:
                raise Denied(400, "A phone sends status, original or join.")
        except Denied as denied:
            if denied.status not in (403, 404):
                raise
            # What is not shared, or comes late, ends nothing.
            await self._say({"type": "denied", "status": denied.status, "sentence": str(denied)})

    async def _tell(self) -> None:
        number = 0
        while True:
            found = await self._room.wish_after(self._device.id, number, WISH_S)
            if found is not None:
                number = found[0]
                await self._say({"type": "wish", "number": number, "wish": found[1].to_json()})

    async def _send(self) -> None:
        while True:
            message, sent = await self._out.get()
            try:
                await self._bounded(self._websocket.send_bytes(message))
            finally:
                sent()
                self._unanswered -= 1

    def _answer(self, correlation: int, reply: Message | Refused, sent: Callable[[], None]) -> None:
        """Send an answer. Any thread may call it."""
        message = join(pack(error_reply(reply) if isinstance(reply, Refused) else reply, correlation))
        try:
            self._loop.call_soon_threadsafe(self._deliver, message, sent)
        except RuntimeError:  # the loop has ended
            sent()

    def _deliver(self, message: bytes, sent: Callable[[], None]) -> None:
        if self._gone:
            sent()
        else:
            self._out.put_nowait((message, sent))

    async def _say(self, message: dict[str, Any]) -> None:
        await self._bounded(self._websocket.send_text(json.dumps(message, separators=(",", ":"))))

    async def _bounded(self, sending: Any) -> None:
        try:
            async with asyncio.timeout(SLOW_S):
                await sending
        except RuntimeError:  # closed meanwhile
            raise WebSocketDisconnect from None


async def _receive(websocket: WebSocket) -> bytes | str:
    received = await websocket.receive()
    if received["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(received.get("code", 1005))
    content = received.get("bytes")
    return received["text"] if content is None else bytes(content)


def _object(received: bytes | str, more_bytes: int = 0) -> dict[str, Any]:
    """The JSON object of a text; an original, in base64, may add so many bytes."""
    most = MOST_TEXT_BYTES + 4 * more_bytes // 3
    if isinstance(received, bytes):
        raise Denied(400, "The first message of a phone is a text that joins the room.")
    if len(received) > most:
        raise Denied(400, f"A text of a phone has at most {most:,} bytes.")
    try:
        said = json.loads(received)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise Denied(400, "A phone sends JSON objects.")
    return said


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise Denied(400, "The number of a frame is a whole number of 0 or more.")
    return value


def _pixels(value: object) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else "!", validate=True)
    except binascii.Error:
        raise Denied(400, "The data of an original is base64.") from None


async def _close(websocket: WebSocket, code: int, denied: Denied | None) -> None:
    """Close a connection; what it is denied for is said before, since a reason for closing is short."""
    if not websocket.application_state is websocket.client_state is WebSocketState.CONNECTED:
        return
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):  # closed meanwhile, or too slow
        async with asyncio.timeout(SLOW_S):
            if denied is not None:
                told = {"type": "denied", "status": denied.status, "sentence": str(denied)}
                await websocket.send_text(json.dumps(told))
            await websocket.close(code)
