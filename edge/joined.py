"""A device in a room: it joins by a code, sends what its camera sees, and does what it is told if its user allows it.

It needs numpy, one transport and the standard library. What it is told comes from a server that its user trusts with
smashed data and with nothing else: each wish is checked against `cutlayer.edge.wishes`, and originals leave the device
only with ``--share-original``.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.images import SUFFIXES, fit, read_image
from cutlayer.data.load import open_data
from cutlayer.data.splits import NO_CLASS, Splits
from cutlayer.data.stored import Unreadable
from cutlayer.defenses.base import Defense, deployed
from cutlayer.edge.client import Edge
from cutlayer.edge.frames import Frame, Frames, Planned, Sent
from cutlayer.edge.pipeline import Pipeline
from cutlayer.edge.room_client import MOST_FILE_BYTES, Gone, RoomClient
from cutlayer.edge.typed import Dictated, Given, Lines
from cutlayer.edge.wishes import Consent, Wish
from cutlayer.errors import ConfigError, CutlayerError, DataError, DecodeError, SplitError, WireError
from cutlayer.models.manifest import HEAD_ONNX, LEARNED, MANIFEST, TOKENIZER
from cutlayer.sequences import trimmed
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import Half, SplitFolder, open_split
from cutlayer.terminal import say, tell
from cutlayer.trace import STAGES, Trace
from cutlayer.wire.address import Address
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.connect import connect
from cutlayer.wire.join_code import JoinCode
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts, Transport

TIMEOUTS = Timeouts(connect_s=3.0, request_s=5.0, heartbeat_s=5.0)
POLL_S = 35.0
"""Longest wait for a wish; the server answers after 25 s at the latest."""
AWAY_S = 1.0
"""Pause between two attempts to join again."""
MOST_REPORTS = 4
"""Reports that wait to be sent; further ones are dropped."""
STATUS_EACH_S = 0.2
RATE, TYPED_RATE = 10.0, 4.0
"""Frames per second where nobody says otherwise: pictures, and changes of a sentence."""
LOOK_S = 0.1
"""How long a change of a sentence is waited for, before wishes are looked at again."""
MOST_PICTURES = 1000
"""Images of a folder that are held in memory."""


@dataclass
class Told:
    """What the threads of a device know of its room.

    Attributes:
        id: The device's id there.
        number: Number of the last wish.
        wish: The last wish; None after it was looked at.
        away: Set where the server does not know the device any more.
        closing: Set at the end.
        reports: What waits to be reported: a path, and JSON or the bytes of a frame.
    """

    id: str = ""
    number: int = 0
    wish: Wish | None = None
    away: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)
    reports: queue.Queue[tuple[str, object, int | None]] = field(default_factory=lambda: queue.Queue(MOST_REPORTS))


def join(
    code: JoinCode,
    *,
    camera: str | None = None,
    images: Path | None = None,
    data: str | None = None,
    text: Sequence[str] | None = None,
    name: str,
    transport: Literal["grpc", "zmq"] = "grpc",
    consent: Consent | None = None,
    share_original: bool = False,
    rate: float | None = None,
    count: int | None = None,
    threads: int = 1,
    seed: int = 0,
    data_root: Path | None = None,
    security: Security | None = None,
    stop: threading.Event | None = None,
    traced: Callable[[Trace], object] | None = None,
) -> None:
    """Join a room and send frames until Ctrl-C or SIGTERM, until `stop` is set, or until `count` were answered.

    While the server is away, nothing is sent; the device joins again when it is back.

    Args:
        code: The join code.
        camera: Number of a camera, or path of a video.
        images: Folder of images, sent in the order of their names, again and again.
        data: Name of a data set, whose test images are sent, or whose test sentences are typed word by word; that of
            the split if nothing else is given.
        text: Sentences to send; an empty list for those that are typed in the terminal.
        name: Name of the device for people.
        transport: Which of the server's transports is used.
        consent: What the device may be told.
        share_original: Whether the page may show what the camera sees, or what is typed.
        rate: Frames per second at most; 10 of pictures and 4 of a sentence if None. A sentence is sent when it has
            changed.
        count: Number of answers after which it ends.
        threads: Threads of the head.
        seed: Seed of the data's parts.
        data_root: Folder of the data sets that are not embedded.
        security: Only its `insecure` counts: plain text between machines.
        stop: Set by another thread to end it.
        traced: Called with the times of each request that was answered.

    Raises:
        ConfigError: The code, the token or an option is not valid, or the room is full.
        DataError: There is no such camera, or no image.
        SplitError: What the server sent is damaged, or it holds another split now.
        WireError: No server answers at the first attempt.
    """
    consent, insecure = consent or Consent(), bool(security and security.insecure)
    if code.scheme == "http":
        _refuse_plain_text(Address("http", code.host, code.port), insecure)
    with contextlib.ExitStack() as opened:
        scratch = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="cutlayer-")))
        client = RoomClient(code)
        opened.callback(client.close)
        try:
            split = _fetch(client, scratch)
            head = split.head(threads=threads)
        except SplitError as error:
            raise SplitError(f"What the room at {code.origin} has sent cannot be used: {error}") from None
        frames = _frames(split, camera, images, data, text, seed, data_root)
        opened.callback(frames.close)
        device = _Joined(
            code, client, split, head, frames, consent, name, transport, share_original,
            rate or (TYPED_RATE if split.manifest.sequence else RATE), insecure, scratch,
        )  # fmt: skip
        opened.callback(device.close)
        device.run(count, stop or threading.Event(), traced)


class _Joined:
    def __init__(
        self, code: JoinCode, client: RoomClient, split: SplitFolder, head: Half, frames: Frames, consent: Consent,
        name: str, transport: str, share_original: bool, rate: float, insecure: bool, scratch: Path,
    ) -> None:  # fmt: skip
        self._code, self._client, self._split, self._head, self._frames = code, client, split, head, frames
        self._consent, self._name, self._share, self._rate = consent, name, share_original, rate
        self._scheme, self._insecure, self._scratch = transport, insecure, scratch
        self._base, self._told = deployed(split), Told()
        self._wish, self._session = consent.floor, secrets.token_hex(8)
        self._transport: Transport | None = None
        self._edge: Edge | None = None
        self._threads: list[threading.Thread] = []
        self._status_ns = self._n_taken = 0

    def run(
        self, count: int | None, stop: threading.Event, traced: Callable[[Trace], object] | None
    ) -> None:  # fmt: skip
        """Send frames until the end."""
        self._enter()
        tell(f"joined {self._code.origin} as {self._name!r}")
        for work in (self._await_wishes, self._report):
            thread = threading.Thread(target=work, name=work.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)
        number = answered = 0
        due = time.monotonic()
        while (count is None or answered < count) and not stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / self._rate, time.monotonic())
            if not self._anything():
                continue
            if (frame := self._frames.take(number)) is None:
                return
            self._n_taken += 1
            try:
                if self._told.away.is_set():
                    raise Gone("The server has forgotten this device.")
                self._heed()
                trace = self._send(frame.image, number)
                answered += 1
                if traced is not None:
                    traced(trace)
            except WireError as error:
                say(f"The room at {self._code.origin} is away ({type(error).__name__}); waiting for it.")
                self._come_back(stop)
                due = time.monotonic()
            number += 1

    def _anything(self) -> bool:
        """Whether there is something to send: a picture always, a sentence when it or the defense has changed."""
        told = self._told
        if not isinstance(self._frames, Lines | Given | Dictated) or told.away.is_set():
            return True
        return self._frames.changed(LOOK_S) or (told.wish is not None and self._n_taken > 0)

    def close(self) -> None:
        """Leave the room."""
        self._told.closing.set()
        if self._transport is not None:
            self._transport.close()
        if self._told.id:
            with contextlib.suppress(CutlayerError):
                self._client.ask("DELETE", f"/device/{self._told.id}", timeout_s=1.0)

    def _enter(self) -> None:
        said = self._client.json(
            "POST", "/device",
            {
                "name": self._name, "kind": "python", "session": self._session, "share_original": self._share,
                "allows": list(self._consent.names),
            },
        )  # fmt: skip
        id, addresses = said.get("id"), said.get("addresses")
        if not isinstance(id, str) or not isinstance(addresses, dict):
            raise DecodeError(f"{self._code.origin} answers what no room answers; check the join code.")
        if self._transport is not None:
            self._transport.close()
        self._transport = self._connect(addresses, said)
        pipeline = self._pipeline(self._wish)
        self._edge = Edge(self._split.manifest, pipeline, self._transport, TIMEOUTS, session=self._session)
        self._edge.switch(pipeline, self._title(self._wish))
        told = self._told
        told.id, told.number = id, said["number"] if isinstance(said.get("number"), int) else 0
        # With number 0, nobody has wished anything yet.
        told.wish = _wish(said.get("wish")) if told.number else None
        told.away.clear()

    def _connect(self, addresses: dict[str, Any], said: dict[str, Any]) -> Transport:
        text = addresses.get(self._scheme)
        if not isinstance(text, str):
            there = ", ".join(sorted(map(str, addresses))) or "none"
            raise ConfigError(f"This room has no {self._scheme}; choose with --transport: {there}.")
        # The host of the code is the one by which this device reaches the server.
        address = replace(Address.parse(text), host=self._code.host)
        security = Security(insecure=self._insecure)
        if self._scheme == "grpc":
            token = _written(self._scratch / "token", self._code.token)
            certificate = said.get("certificate")
            ca = _written(self._scratch / "server.pem", certificate) if isinstance(certificate, str) else None
            security = replace(security, token_file=token, ca=ca)
        elif isinstance(key := said.get("curve_server"), str):
            security = replace(security, curve_server=_written(self._scratch / "curve.pub", key))
        return connect(str(address), TIMEOUTS, security=security)

    def _come_back(self, stop: threading.Event) -> None:
        """Wait until the server is there, and join again."""
        while not stop.wait(AWAY_S):
            try:
                self._enter()
            except WireError:
                continue
            say("The room is back; joined again.")
            return

    def _heed(self) -> None:
        """Do what was wished, or say why not."""
        wish, self._told.wish = self._told.wish, None
        if wish is None:
            return
        refused = self._consent.refusal(wish)
        if refused is None:
            try:
                assert self._edge is not None
                self._edge.switch(self._pipeline(wish), self._title(wish))
                self._wish = wish
            except CutlayerError as error:
                refused = str(error)
        self._post("status", {"refused": refused}, None)

    def _pipeline(self, wish: Wish) -> Pipeline:
        defense: Defense = self._base.then(wish.make()) if wish.strength else self._base
        return Pipeline(self._head, defense, codec_named(wish.codec), self._split.manifest.length)

    def _title(self, wish: Wish) -> str:
        return wish.title if wish.strength else Wish().title

    def _send(self, image: NDArray[Any], number: int) -> Trace:
        assert self._edge is not None
        if self._share:
            self._post("original", _original(image), number)
        _, trace = self._edge.infer(image, number)
        now_ns = time.monotonic_ns()
        if now_ns - self._status_ns > STATUS_EACH_S * 1e9:
            self._status_ns = now_ns
            self._post("status", _status(trace, number), None)
        return trace

    def _post(self, what: str, content: object, frame: int | None) -> None:
        with contextlib.suppress(queue.Full):
            self._told.reports.put_nowait((what, content, frame))

    def _await_wishes(self) -> None:
        """A thread: what the server wishes."""
        client, told = RoomClient(self._code, POLL_S), self._told
        while not told.closing.is_set():
            try:
                said = client.json("GET", f"/device/{told.id}/wish?after={told.number}")
                if not isinstance(said.get("number"), int):
                    continue
                told.number = said["number"]
                try:
                    told.wish = Wish.read(said.get("wish"))
                except ConfigError as error:
                    self._post("status", {"refused": f"This device does not know this wish: {error}"}, None)
            except Gone:
                told.away.set()
                told.closing.wait(AWAY_S)
            except CutlayerError:
                told.closing.wait(AWAY_S)
        client.close()

    def _report(self) -> None:
        """A thread: what the device measured, and what its camera saw where it shares that."""
        client, told = RoomClient(self._code), self._told
        while not told.closing.is_set():
            try:
                what, content, frame = told.reports.get(timeout=0.5)
            except queue.Empty:
                continue
            path = f"/device/{told.id}/{what}"
            try:
                if isinstance(content, bytes):
                    client.ask("POST", path, body=content, frame=frame)
                else:
                    client.ask("POST", path, content)
            except Gone:
                told.away.set()
            except CutlayerError:
                told.closing.wait(AWAY_S)
        client.close()


class Pictures:
    """The images of a folder, in the order of their names, again and again; see `cutlayer.edge.frames.Frames`.

    Raises:
        DataError: The folder has no image.
    """

    def __init__(self, paths: Sequence[Path], input: TensorSpec) -> None:
        self._images: list[NDArray[np.float32]] = []
        for path in paths[:MOST_PICTURES]:
            try:
                self._images.append(read_image(path, input.shape)[None])
            except Unreadable as error:
                say(f"{error}; it is left out")
        if not self._images:
            raise DataError("None of the images can be read.")
        self.total: int | None = None
        self.skipped, self.due, self.note = 0, "", ""

    def example(self) -> NDArray[np.float32]:
        """See `Frames`."""
        return self._images[0]

    def take(self, number: int) -> Frame | None:
        """See `Frames`."""
        place = number % len(self._images)
        return Frame(Sent(0, place, number), self._images[place], NO_CLASS)

    def label(self, number: int) -> int | None:
        """See `Frames`."""
        return NO_CLASS

    def close(self) -> None:
        """See `Frames`."""


class Shown(Planned):
    """The test images of a data set, in the size and the colors that the head takes."""

    def __init__(self, splits: Splits, input: TensorSpec) -> None:
        super().__init__(splits, None, 0, 1, loop=True)
        self._input = input

    def take(self, number: int) -> Frame | None:
        """See `Frames`."""
        frame = super().take(number)
        return frame and frame._replace(image=_shaped(frame.image[0], self._input)[None])


def _frames(
    split: SplitFolder, camera: str | None, images: Path | None, data: str | None, text: Sequence[str] | None,
    seed: int, root: Path | None,
) -> Frames:  # fmt: skip
    manifest = split.manifest
    input = manifest.input
    given = {
        "--camera": camera is not None,
        "--images": images is not None,
        "--data": data is not None,
        "--text": text is not None,
    }
    if sum(given.values()) > 1:
        raise ConfigError("--camera, --images, --data and --text exclude each other; name one of them.")
    if manifest.sequence:
        if camera is not None or images is not None:
            raise ConfigError("This room reads sentences; type them with --text, or name a data set with --data.")
        return _sentences(split, data, text, seed, root)
    if text is not None:
        raise ConfigError("This room takes pictures; name what to send: --camera 0, --images DIR or --data NAME.")
    if camera is not None:
        from cutlayer.edge.camera import Camera

        return Camera(camera, input, None, loop=True)
    if images is not None:
        paths = sorted(path for path in images.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not paths:
            raise DataError(f"{images} has no image; --images takes a folder of pictures ({', '.join(SUFFIXES)}).")
        return Pictures(paths, input)
    name = data or split.manifest.data
    if name is None:
        raise ConfigError("Name what to send: --camera 0, --images DIR or --data NAME.")
    return Shown(open_data(name, root, seed, shape=input.shape), input)


def _sentences(
    split: SplitFolder, data: str | None, text: Sequence[str] | None, seed: int, root: Path | None
) -> Frames:  # fmt: skip
    length, tokenizer = split.manifest.input.shape[0], split.tokenizer
    if tokenizer is None:
        raise DataError("This room has sent no tokenizer, so that no tokens can be made of text.")
    name = None if text is not None else data or split.manifest.data
    if name is not None:
        splits = open_data(name, root, seed, shape=(length,), tokenizer=tokenizer)
        if not splits.input.is_tokens:
            raise DataError(f"This room reads sentences, and {name} has none; type them with --text.")
        return Dictated(splits.test)
    if text is None:
        raise ConfigError("Name what to send: --text for sentences that you type, or --data NAME.")
    return Given(tokenizer, length, text) if text else Lines(tokenizer, length)


def _original(input: NDArray[Any]) -> bytes:
    """What a page is shown of an input ``(1, ...)``: the bytes of an image, or the ids of the tokens of a sentence."""
    if input.dtype.kind == "f":
        return bytes(np.rint(input[0] * 255).astype(np.uint8).tobytes())
    return bytes(trimmed(input)[0].astype("<i4").tobytes())


def _shaped(image: NDArray[np.float32], input: TensorSpec) -> NDArray[np.float32]:
    """An image ``(C, h, w)`` as the head takes it: gray or in color, scaled and cropped."""
    if image.ndim != 3:
        raise DataError("A room shows images, and this data set has none; choose another with --data.")
    channels, height, width = input.shape
    if channels == 1 and len(image) == 3:
        image = image.mean(0, keepdims=True)
    if channels == 3 and len(image) == 1:
        image = image.repeat(3, 0)
    return np.ascontiguousarray(fit(image, height, width), np.float32)


def _fetch(client: RoomClient, folder: Path) -> SplitFolder:
    """The device's half of the split; the hashes of its files are checked when they are opened."""
    wanted = [MANIFEST, HEAD_ONNX]
    for name in wanted:
        (folder / name).write_bytes(client.ask("GET", f"/split/{name}", most_bytes=MOST_FILE_BYTES))
        if name == MANIFEST:
            split = open_split(folder)
            wanted += [name for name in (LEARNED, TOKENIZER) if name in split.manifest.files]
    return split


def _refuse_plain_text(address: Address, insecure: bool) -> None:
    if address.leaves_machine and not insecure:
        raise ConfigError(
            f"{address} is on another machine, so smashed data would cross the network in plain text. Open the room "
            "with --cert and --key (`cutlayer certs init` writes the files) and take its new code, or allow plain text "
            "with --insecure."
        )


def _written(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


def _wish(value: object) -> Wish | None:
    """A wish as it came; None where there is none, or one that no device knows."""
    try:
        return None if value is None else Wish.read(value)
    except ConfigError as error:
        say(f"The server wishes what this device does not know: {error}")
        return None


def _status(trace: Trace, number: int) -> dict[str, Any]:
    stages = {stage: max(0, int(getattr(trace, f"{stage}_ns"))) for stage in STAGES}
    return {
        "stages_ns": stages, "bytes": trace.message_bytes, "end_to_end_ns": trace.end_to_end_ns, "frame": number,
    }  # fmt: skip
