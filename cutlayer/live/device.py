"""One device of a room, as the server knows it."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.edge.wishes import SWITCHABLE, Wish
from cutlayer.errors import CutlayerError
from cutlayer.foreign import shown

KINDS = ("python", "phone")
MOST_NAME, MOST_SESSION = 40, 128
RATE_S = 3.0
"""Seconds over which the frames per second are counted."""


class Denied(CutlayerError):
    """A device or a page asks for what it does not get.

    Attributes:
        status: Status of the answer over HTTP.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Introduction(NamedTuple):
    """How a device introduces itself.

    Attributes:
        name: Its name for people.
        kind: One of `KINDS`.
        session: Name of the session of its requests.
        shares_original: Whether it sends what its camera sees, so that people can compare.
        allows: The defenses that it may be told.
    """

    name: str
    kind: str
    session: str
    shares_original: bool
    allows: tuple[str, ...]

    @classmethod
    def read(cls, value: object) -> Introduction:
        """Read the JSON with which a device joins. Raises `Denied`."""
        if not isinstance(value, dict):
            raise Denied(400, "A device joins with a JSON object.")
        name, kind, session = (value.get(key) for key in ("name", "kind", "session"))
        shares, allows = value.get("share_original", False), value.get("allows", [])
        if not (isinstance(name, str) and 0 < len(name.strip()) <= len(name) <= MOST_NAME):
            raise Denied(400, f"The name of a device has 1 to {MOST_NAME} letters.")
        if kind not in KINDS:
            raise Denied(400, f"The kind of a device is {' or '.join(KINDS)}.")
        if not (isinstance(session, str) and 0 < len(session) <= MOST_SESSION and session.isascii()):
            raise Denied(400, f"The session of a device has 1 to {MOST_SESSION} ASCII characters.")
        if not isinstance(shares, bool):
            raise Denied(400, "share_original is true or false.")
        if not (isinstance(allows, list) and all(isinstance(entry, str) for entry in allows)):
            raise Denied(400, "allows is a list of names of defenses.")
        known = tuple(entry for entry in SWITCHABLE if entry in allows)
        return cls(shown(name.strip(), MOST_NAME), kind, session, shares, known)


class Frame(NamedTuple):
    """What arrived of one frame.

    Attributes:
        number: Its number in its session.
        smashed: ``(1, *smashed.shape)``; of a sentence in its own length.
        wish: The defense that the request states, without the codec; None where it states another text.
        ns: Time of its arrival (`time.monotonic_ns`).
        prediction: What the server answered: ``label`` and ``share``; None where it names no class.
    """

    number: int
    smashed: NDArray[np.float32]
    wish: Wish | None
    ns: int
    prediction: Mapping[str, Any] | None = None


class Rebuilt(NamedTuple):
    """What one attacker made of a frame.

    Attributes:
        attacker: Its name.
        picture: A data URL.
        leakage_gain: Share of the mean image's error that it removed; None where the original is not known.
        psnr_db: Quality of the picture; None where the original is not known.
        learned: Whether the attacker had learned behind the defense of this frame.
    """

    attacker: str
    picture: str
    leakage_gain: float | None
    psnr_db: float | None
    learned: bool = True


class Read(NamedTuple):
    """What one attacker read of a sentence.

    Attributes:
        attacker: Its name.
        tokens: Of each token its text, whether it continues the word before it, and whether it is right; None where
            the sentence is not known, or the word was not in the vocabulary and was read as such.
        right: How many tokens are right; None where the sentence is not known.
        of: How many there are, without the unknown ones.
        unknown: How many words of the sentence the vocabulary lacks; 0 where the sentence is not known.
        learned: See `Rebuilt`.
    """

    attacker: str
    tokens: tuple[tuple[str, bool, bool | None], ...]
    right: int | None
    of: int
    unknown: int
    learned: bool = True


class Picture(NamedTuple):
    """A frame as a page shows it.

    Attributes:
        frame: Its number.
        original: A data URL, or of each token of a sentence its text and whether it continues the word before it; None
            where it is not shared.
        rebuilt: What each attacker made of it.
        candidate: What the watch list says; None where there is none.
        prediction: What the server answered to this frame; None where it names no class.
        defense: Title of the wish that its request states; None where it states another text.
    """

    frame: int
    original: str | list[list[Any]] | None
    rebuilt: tuple[Rebuilt | Read, ...]
    candidate: Mapping[str, Any] | None
    prediction: Mapping[str, Any] | None = None
    defense: str | None = None


@dataclass
class Device:
    """One device. The room's lock is held by whoever reads or changes it.

    Attributes:
        id: Its id in this room.
        introduction: What it said of itself when it joined.
        wish: What it is told to do.
        wish_number: Number of that wish; each new one has a greater number.
        refused: Why it does not obey; None where it does.
        connected: Whether it is there.
        version: Grows with each change that a page shows.
        picture: The last frame that was attacked; None before.
        picture_version: Grows with each new picture.
        waiting: Frames that were not attacked, the newest last.
        attacked: The last frame that was given to the attackers.
        originals: What the device saw or said, by the number of the frame; only where it is shared.
    """

    id: str
    introduction: Introduction
    wish: Wish = field(default_factory=Wish)
    wish_number: int = 0
    refused: str | None = None
    connected: bool = True
    version: int = 1
    picture: Picture | None = None
    picture_version: int = 0
    waiting: deque[Frame] = field(default_factory=lambda: deque(maxlen=8))
    attacked: Frame | None = None
    originals: OrderedDict[int, NDArray[Any]] = field(default_factory=OrderedDict)
    contact_ns: int = field(default_factory=time.monotonic_ns)
    polls: int = 0
    arrivals: deque[int] = field(default_factory=lambda: deque(maxlen=256))
    defense: str = "none"
    prediction: dict[str, Any] | None = None
    nbytes: int = 0
    server_ns: Mapping[str, int] = field(default_factory=dict)
    device_ns: Mapping[str, int] = field(default_factory=dict)
    end_to_end_ns: int | None = None

    def empty(self) -> None:
        """Forget what was seen of it; pages are told so."""
        if self.picture is not None:
            self.picture = Picture(0, None, (), None)
            self.picture_version += 1
        self.prediction, self.end_to_end_ns, self.nbytes, self.defense = None, None, 0, "none"
        self.server_ns, self.device_ns = {}, {}
        self.arrivals.clear()
        self.attacked = None

    def touched(self) -> None:
        """Note that it was heard of."""
        self.contact_ns = time.monotonic_ns()
        self.connected = True
        self.version += 1

    def message(self, now_ns: int) -> dict[str, Any]:
        """What a page is told of it."""
        recent = [ns for ns in self.arrivals if now_ns - ns < RATE_S * 1e9]
        last = self.arrivals[-1] if self.arrivals else self.contact_ns
        stages = {**self.device_ns, **{k: v for k, v in self.server_ns.items() if k not in self.device_ns}}
        return {
            "type": "device",
            "id": self.id,
            "name": self.introduction.name,
            "kind": self.introduction.kind,
            "connected": self.connected,
            "last_ns_ago": now_ns - last,
            "fps": round(len(recent) / RATE_S, 1),
            "defense": self.defense,
            "allows": list(self.introduction.allows),
            "wish": self.wish.to_json(),
            "wish_number": self.wish_number,
            "refused": self.refused,
            "prediction": self.prediction,
            "bytes": self.nbytes,
            "end_to_end_ms": None if self.end_to_end_ns is None else self.end_to_end_ns / 1e6,
            "stages_ms": {name: ns / 1e6 for name, ns in stages.items()},
            "shares_original": self.introduction.shares_original,
        }

    def frame_message(self) -> dict[str, Any] | None:
        """The last frame that was attacked, as a page is told of it."""
        if self.picture is None:
            return None
        rebuilt = [one._asdict() for one in self.picture.rebuilt]
        return {
            "type": "frame", "id": self.id, "frame": self.picture.frame, "original": self.picture.original,
            "rebuilt": rebuilt, "candidate": self.picture.candidate, "prediction": self.picture.prediction,
            "defense": self.picture.defense,
        }  # fmt: skip
