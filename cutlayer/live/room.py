"""Who is in the room, what arrived from whom, and what the attackers made of it.

Any thread may call the methods of a `Room`; none of them waits for anything but its lock. Nothing here touches a disk:
originals and frames live in memory, a few of each device.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.cloud.service import Seen
from cutlayer.edge.wishes import IN_JAVASCRIPT, SWITCHABLE, SWITCHABLE_CODECS, Wish, knob, stated
from cutlayer.foreign import shown
from cutlayer.live import originals
from cutlayer.live.device import Denied, Device, Frame, Introduction, Picture
from cutlayer.models.manifest import Manifest
from cutlayer.registry import DEFENSES
from cutlayer.tensors import chosen

SILENT_NS = 4_000_000_000
"""A device that was not heard of for so long is shown as gone, unless it waits for a wish."""
KEPT_ORIGINALS = 8
PATIENCE_NS = 400_000_000
"""How long a frame waits for the original that belongs to it."""
_MOST_SENTENCE, _MOST_STAGES, _MOST_NS = 300, 16, 1 << 53
_STAGES = ("queue", "decode", "tail", "reply")


class Waiting(NamedTuple):
    """A frame for the attackers, and the original of which it is made, where that is shared.

    See `cutlayer.live.originals.read`.
    """

    device: str
    frame: Frame
    original: NDArray[Any] | None


class Room:
    """The devices of one server.

    Args:
        manifest: Manifest of the split.
        labels: Names of the classes.
        most_devices: Devices that may be connected at a time.
        read_only: Whether pages watch only: nobody can be told anything, and nobody joins.

    Attributes:
        addresses: Where devices send their requests, by the name of the transport.
        certificate: The server's certificate (PEM), where it has one.
        curve_server: Its public key for CURVE, where it has one.
        codes: How devices and phones join, for the page.
        attackers: What the attackers say of themselves.
        attackers_chosen: Names of those that work; None for all.
        version: Grows with each change of what `message` says.
    """

    def __init__(
        self,
        manifest: Manifest,
        labels: Sequence[str],
        most_devices: int,
        *,
        read_only: bool = False,
    ) -> None:
        self.manifest, self.labels, self.codes = manifest, tuple(labels), dict[str, Any]()
        self.most_devices, self.read_only = most_devices, read_only
        self.addresses: dict[str, str] = {}
        self.certificate: str | None = None
        self.curve_server: str | None = None
        self.attackers: list[dict[str, Any]] = []
        self.attackers_chosen: tuple[str, ...] | None = None
        self.version = 1
        self._devices: dict[str, Device] = {}
        self._by_session: dict[str, Device] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._listeners: set[Callable[[], None]] = set()

    # Devices.

    def join(self, asked: object) -> Device:
        """Let a device in, or take one back that was here before.

        Raises:
            Denied: What it says of itself cannot be read, or the room is full.
        """
        if self.read_only:
            raise Denied(403, "Nobody joins here.")
        return self.admit(Introduction.read(asked))

    def admit(self, said: Introduction) -> Device:
        """Let in whom this program itself introduces, or take it back; see `join`."""
        with self._lock:
            self._look_who_is_there()
            device = self._returning(said)
            if device is None:
                self._make_place()
                device = Device(f"d{next(self._numbers)}-{secrets.token_hex(4)}", said)
                self._devices[device.id] = device
            else:
                if device.introduction.session != said.session:
                    # Perhaps another one of the same name, to whom nothing of the first belongs but its place.
                    self._by_session.pop(device.introduction.session, None)
                    device.empty()
                device.introduction, device.refused = said, None
                device.originals.clear()
                device.waiting.clear()
                if device.picture is not None and not said.shares_original:
                    device.picture = device.picture._replace(original=None)
                    device.picture_version += 1
            self._by_session[said.session] = device
            device.touched()
        self._tell()
        return device

    def welcome(self, device: Device) -> dict[str, Any]:
        """What a device is told when it has joined."""
        with self._lock:
            said = {
                "id": device.id,
                "addresses": self.addresses,
                "number": device.wish_number,
                "wish": device.wish.to_json(),
                "codec": device.wish.codec,
                "labels": list(self.labels),
            }
        if self.certificate is not None:
            said["certificate"] = self.certificate
        if self.curve_server is not None:
            said["curve_server"] = self.curve_server
        return said

    def leave(self, id: str) -> None:
        """Take a device out of the room, with all that is known of it. Raises `Denied`."""
        with self._lock:
            self._forget(self._device(id))
        self._tell()

    def gone_quiet(self, id: str) -> None:
        """Note that the connection to a device is lost; its last frame stays."""
        with self._lock:
            device = self._devices.get(id)
            if device is not None:
                device.connected = False
                device.version += 1
        self._tell()

    def report(self, id: str, status: object) -> None:
        """Take what a device measured. Raises `Denied`."""
        if not isinstance(status, dict):
            raise Denied(400, "A status is a JSON object.")
        stages, nbytes, took = status.get("stages_ns", {}), status.get("bytes"), status.get("end_to_end_ns")
        refused = status.get("refused")
        if not isinstance(stages, dict) or len(stages) > _MOST_STAGES:
            raise Denied(400, f"stages_ns is an object of at most {_MOST_STAGES} durations.")
        if not all(_is_count(ns) for ns in (*stages.values(), *(n for n in (nbytes, took) if n is not None))):
            raise Denied(400, "Durations and bytes are whole numbers of 0 or more.")
        if refused is not None and not isinstance(refused, str):
            raise Denied(400, "refused is a sentence or null.")
        with self._lock:
            device = self._device(id)
            device.touched()
            device.device_ns = {shown(name, 24): ns for name, ns in stages.items()}
            if took is not None:
                device.end_to_end_ns = took
            if "refused" in status:
                device.refused = None if refused is None else shown(refused, _MOST_SENTENCE)
        self._tell()

    def original(self, id: str, frame: int, sent: bytes) -> None:
        """Take what a device saw or said. Raises `Denied` unless the device shares it, and it can be read."""
        with self._lock:
            device = self._device(id)
            if not device.introduction.shares_original:
                raise Denied(403, "This device has not said that it shares originals (--share-original).")
            original = originals.read(self.manifest, sent)
            device.contact_ns = time.monotonic_ns()
            device.originals[frame] = original
            while len(device.originals) > KEPT_ORIGINALS:
                device.originals.popitem(last=False)

    def polling(self, id: str, begins: bool) -> None:
        """Note that a device begins or ends to wait for a wish. Raises `Denied`."""
        with self._lock:
            device = self._device(id)
            device.polls += 1 if begins else -1
            if begins:
                device.touched()
            else:
                device.contact_ns = time.monotonic_ns()

    async def wish_after(self, id: str, number: int, timeout_s: float) -> tuple[int, Wish] | None:
        """Wait for a wish with a greater number; None where none came. Raises `Denied`."""
        end = time.monotonic() + timeout_s
        with Changes(self) as changes:
            while True:
                with self._lock:
                    device = self._device(id)
                    if device.wish_number > number:
                        return device.wish_number, device.wish
                left = end - time.monotonic()
                if left <= 0:
                    return None
                await changes.wait(left)

    # Pages.

    def wish(self, id: str, wish: Wish) -> None:
        """Tell a device, or ``all``, what is wished of it. Raises `Denied`."""
        if self.read_only:
            raise Denied(403, "This page watches only; no device can be told anything here.")
        with self._lock:
            for device in [self._device(id)] if id != "all" else list(self._devices.values()):
                device.wish, device.wish_number = wish, device.wish_number + 1
                device.refused = None
                device.version += 1
        self._tell()

    def message(self) -> dict[str, Any]:
        """What a page is told of the room."""
        manifest = self.manifest
        with self._lock:
            attackers, chosen_names = [dict(one) for one in self.attackers], self.attackers_chosen
        return {
            "type": "room",
            "split": {
                "model": manifest.model,
                "cut": manifest.cut,
                "text": manifest.sequence,
                "input": list(manifest.input.shape),
                "smashed": list(manifest.smashed.shape),
                "data": manifest.data,
                "defense": DEFENSES.label(str(manifest.defense.get("name", "none"))),
            },
            "labels": list(self.labels),
            "attackers": attackers,
            "chosen": [one["name"] for one in attackers] if chosen_names is None else list(chosen_names),
            "switchable": [
                {
                    "defense": name,
                    "title": name.replace("-noise", " noise"),
                    "knob": knob(name),
                    "values": list(values),
                    "javascript": name in IN_JAVASCRIPT,
                }
                for name, values in SWITCHABLE.items()
                if not self.read_only
            ],
            "codecs": [] if self.read_only else list(SWITCHABLE_CODECS),
            "join": None if self.read_only else dict(self.codes),
        }

    def messages(self, told: dict[str, tuple[int, int]]) -> list[dict[str, Any]]:
        """What changed of the devices since a page was told; `told` has the versions by id, and is updated."""
        now_ns, messages = time.monotonic_ns(), []
        with self._lock:
            self._look_who_is_there()
            for device in self._devices.values():
                version, pictured = told.get(device.id, (0, 0))
                if device.version != version:
                    messages.append(device.message(now_ns))
                if device.picture_version != pictured and (frame := device.frame_message()) is not None:
                    messages.append(frame)
                told[device.id] = device.version, device.picture_version
            for id in [id for id in told if id not in self._devices]:
                del told[id]
                messages.append({"type": "gone", "id": id})
        return messages

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function after each change, from any thread."""
        with self._lock:
            self._listeners.add(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Undo `listen`."""
        with self._lock:
            self._listeners.discard(listener)

    # The service and the attackers.

    def see(self, seen: Seen) -> None:
        """Take an answered request; see `cutlayer.cloud.service.Service`. Whose session has not joined is not shown."""
        now_ns = time.monotonic_ns()
        logits = next(iter(seen.answers.values()))
        with self._lock:
            device = self._by_session.get(seen.session) if isinstance(seen.session, str) else None
            if device is None:
                return
            device.touched()
            device.arrivals.append(now_ns)
            device.nbytes = seen.nbytes
            device.server_ns = dict(zip(_STAGES, seen.durations, strict=True))
            device.defense = shown(seen.defense or "none", 64)
            device.prediction = self._prediction(logits[:1])
            ending = seen.id.rpartition("-")[2]
            number = int(ending) if ending.isascii() and ending.isdecimal() and len(ending) < 16 else 0
            frame = Frame(number, seen.smashed[:1], stated(seen.defense), now_ns, device.prediction)
            device.waiting.append(frame)
        self._tell()

    def take(self) -> list[Waiting]:
        """The newest frame of each device that has not been taken; older ones are dropped.

        A frame whose device shares originals waits a little for the original that belongs to it.
        """
        taken, now_ns = [], time.monotonic_ns()
        with self._lock:
            for device in self._devices.values():
                waiting = device.waiting
                if not waiting:
                    continue
                chosen_frame: Frame | None = None
                if device.introduction.shares_original:
                    known = [frame for frame in waiting if frame.number in device.originals]
                    if known:
                        chosen_frame = known[-1]
                    elif now_ns - waiting[0].ns > PATIENCE_NS:
                        chosen_frame = waiting[-1]
                else:
                    chosen_frame = waiting[-1]
                if chosen_frame is None:
                    continue
                while waiting and waiting[0].ns <= chosen_frame.ns:
                    waiting.popleft()
                device.attacked = chosen_frame
                taken.append(Waiting(device.id, chosen_frame, device.originals.get(chosen_frame.number)))
        return taken

    def show(self, device_id: str, picture: Picture) -> None:
        """Take what the attackers made of a frame."""
        with self._lock:
            device = self._devices.get(device_id)
            if device is None:
                return
            if not device.introduction.shares_original:  # any more: the frame came before its user took it back
                picture = picture._replace(original=None)
            device.picture = picture
            device.picture_version += 1
            device.version += 1
        self._tell()

    def choose(self, names: Sequence[str]) -> None:
        """Show what these attackers make of the frames, of those that there are; the others rest."""
        with self._lock:
            known = [str(one["name"]) for one in self.attackers]
            self.attackers_chosen = tuple(name for name in known if name in names)
            self.version += 1
            self._attack_again()
        self._tell()

    def show_attackers(self, attackers: list[dict[str, Any]]) -> None:
        """Take what the attackers are: name, title, whether they are ready, progress and words."""
        with self._lock:
            changed, self.attackers = self.attackers != attackers, attackers
            self.version += 1
            if changed:
                self._attack_again()
        self._tell()

    # Within.

    def _attack_again(self) -> None:
        """Let the attackers have the last frame again, where no other one may follow: of a sentence, or in a tap."""
        if self.manifest.sequence or self.read_only:
            for device in self._devices.values():
                if device.attacked is not None and not device.waiting:
                    device.waiting.append(device.attacked)

    def _prediction(self, logits: NDArray[Any]) -> dict[str, Any] | None:
        if logits.dtype.names is not None or logits.ndim != 2 or logits.dtype.kind != "f":
            return None
        if not np.isfinite(logits).all():
            return None
        if self.manifest.sequence and not self.labels:  # the vector of an embedding model names no class
            return None
        best = int(chosen(logits)[0])
        odds = np.exp(logits[0].astype(np.float64) - float(logits[0].max()))
        share = float(odds[best] / odds.sum())
        label = self.labels[best] if best < len(self.labels) else f"class {best}"
        return {"label": label, "share": share}

    def _device(self, id: str) -> Device:
        try:
            return self._devices[id]
        except KeyError:
            raise Denied(404, "There is no such device in this room; join again.") from None

    def _returning(self, said: Introduction) -> Device | None:
        """The device that comes back: by its session, or by its name where nobody of that name is there."""
        if (device := self._by_session.get(said.session)) is not None:
            return device
        for device in self._devices.values():
            known = device.introduction
            if not device.connected and (known.name, known.kind) == (said.name, said.kind):
                return device
        return None

    def _make_place(self) -> None:
        """Drop the device that was away longest where the room is full of names; refuse where it is full of devices."""
        there = sum(device.connected for device in self._devices.values())
        if there >= self.most_devices:
            raise Denied(
                429,
                f"This room has all of its {self.most_devices} devices (--most-devices); wait until one leaves.",
            )
        if len(self._devices) >= self.most_devices:
            away = [device for device in self._devices.values() if not device.connected]
            self._forget(min(away, key=lambda device: device.contact_ns))

    def _forget(self, device: Device) -> None:
        del self._devices[device.id]
        if self._by_session.get(device.introduction.session) is device:
            del self._by_session[device.introduction.session]

    def _look_who_is_there(self) -> None:
        now_ns = time.monotonic_ns()
        for device in self._devices.values():
            if device.connected and not device.polls and now_ns - device.contact_ns > SILENT_NS:
                device.connected = False
                device.version += 1

    def _tell(self) -> None:
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()


class Changes:
    """Waits, in one event loop, for the changes of a room."""

    def __init__(self, room: Room) -> None:
        self._room, self._loop, self._event = room, asyncio.get_running_loop(), asyncio.Event()

    def __enter__(self) -> Changes:
        self._room.listen(self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        self._room.unlisten(self._heard)

    async def wait(self, timeout_s: float) -> None:
        """Wait for a change since the last one that was waited for, but not longer than this."""
        # `asyncio.wait_for` of Python 3.11 loses a cancellation that comes together with the event.
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()

    def _heard(self) -> None:
        if self._event.is_set():  # it is only read here, and set and cleared in the loop
            return
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # the loop has ended
            return


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_NS
