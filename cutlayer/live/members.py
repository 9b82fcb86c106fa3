"""The members of a team of attackers: those that are fitted anew behind each defense, and the one that is told it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.bounded import reason
from cutlayer.edge.wishes import Wish
from cutlayer.live.told_decoder import Release, ToldDecoder
from cutlayer.machine.files import new_path
from cutlayer.terminal import say

KEPT = 24
"""Fitted attacks that are kept, one for each attacker and setting of the defense."""
FORMAT = 1
"""Grows when a decoder that was kept before must not be used any more."""


class Inverted(NamedTuple):
    """What a member makes of frames.

    Attributes:
        inputs: Images, ``(N, C, H, W)``, or the ids of sentences.
        learned: Of each, whether the member had learned behind the defense of that frame; where it had not, it answers
            with what it learned behind another one.
    """

    inputs: Tensor
    learned: list[bool]


class Member(Protocol):
    """An attacker of a team."""

    def start(self) -> None:
        """Begin to learn, in a thread of its own."""

    def state(self) -> dict[str, Any]:
        """What a page is told of it: name, title, whether it is ready, progress and words."""

    def invert(self, smashed: Tensor, wishes: Sequence[Wish]) -> Inverted | None:
        """The inputs behind smashed data, each behind its wish; None before it has learned anything."""


class Refitted:
    """An attack that is fitted anew, in a thread of its own, for each defense that frames state.

    Until it is, the last one that was fitted takes its place.

    Args:
        name: Its name.
        make: Makes a new attack.
        fit: Fits an attack behind a defense.
        report: Called when its state changes.
    """

    def __init__(
        self, name: str, make: Callable[[], Attack], fit: Callable[[Attack, Wish], None], report: Callable[[], None]
    ) -> None:
        self._name, self._make, self._fit_to, self._report = name, make, fit, report
        self._title = f"{name}: {make().plain_words}"
        self._fitted: OrderedDict[str, Attack] = OrderedDict()
        self._failed: set[str] = set()
        self._asked: Wish | None = Wish()
        self._words = "learns"
        self._changed = threading.Condition()

    def start(self) -> None:
        """Begin to learn."""
        threading.Thread(target=self._fit, name=f"fit {self._name}", daemon=True).start()

    def state(self) -> dict[str, Any]:
        """See `Member`."""
        ready = bool(self._fitted)
        progress = 1.0 if ready else 0.0
        return {"name": self._name, "title": self._title, "ready": ready, "progress": progress, "words": self._words}

    def invert(self, smashed: Tensor, wishes: Sequence[Wish]) -> Inverted | None:
        """See `Member`."""
        inputs, learned = [], []
        for arrived, wish in zip(smashed, wishes, strict=True):
            if (found := self._behind(wish)) is None:
                return None
            inputs.append(found[0].invert(arrived[None]))
            learned.append(found[1])
        return Inverted(torch.cat(inputs), learned)

    def _behind(self, wish: Wish) -> tuple[Attack, bool] | None:
        """The attack for frames behind a wish, and whether it was fitted there; None before any was fitted."""
        with self._changed:
            if (attack := self._fitted.get(wish.title)) is not None:
                self._fitted.move_to_end(wish.title)
                return attack, True
            if wish.title not in self._failed:
                self._asked = wish
                self._changed.notify()
            last = next(reversed(self._fitted.values()), None)
            return None if last is None else (last, False)

    def _fit(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked is not None)
                wish, self._asked = self._asked, None
                assert wish is not None
                if wish.title in self._fitted:
                    continue
            self._say(f"learns what {wish.title} does" if wish.strength else "learns")
            attack = self._make()
            try:
                self._fit_to(attack, wish)
            except Exception as error:  # one attacker that fails leaves the others at work
                say(f"The attacker {self._name} failed behind {wish.title}: {reason(error)}")
                with self._changed:
                    self._failed.add(wish.title)
                self._say(f"failed behind {wish.title}")
                continue
            with self._changed:
                self._fitted[wish.title] = attack
                while len(self._fitted) > KEPT:
                    self._fitted.popitem(last=False)
            self._say(f"knows {wish.title}" if wish.strength else "ready")

    def _say(self, words: str) -> None:
        self._words = words
        self._report()


class Told:
    """The decoder that is told the defense; trained in a thread of its own, and kept for the next start.

    It answers from the first part of its training on, and gets better meanwhile.

    Args:
        name: Its name.
        make: Makes the decoder, untrained.
        images: The attackers' own.
        release: What arrives for images behind a defense.
        cache: Folder where it is kept.
        key: What it depends on beside its own settings: the split, its defense, the data.
        report: Called when its state changes.
    """

    def __init__(
        self, name: str, make: Callable[[], ToldDecoder], images: Tensor, release: Release, cache: Path,
        key: dict[str, Any], report: Callable[[], None],
    ) -> None:  # fmt: skip
        self._name, self._images, self._release, self._report = name, images, release, report
        self._learning, self._answering = make(), make()
        self._title = f"{name}: {self._answering.plain_words}"
        settings = asdict(self._answering.settings)
        whole = json.dumps({"format": FORMAT, "settings": settings, **key}, sort_keys=True)
        self._path = cache / f"decoder-{hashlib.sha256(whole.encode()).hexdigest()[:20]}.safetensors"
        self._progress, self._words, self._ready = 0.0, "waits for its turn", False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Load what was learned before, or begin to learn."""
        if not self._load():
            threading.Thread(target=self._train, name=f"train {self._name}", daemon=True).start()

    def state(self) -> dict[str, Any]:
        """See `Member`."""
        return {
            "name": self._name, "title": self._title, "ready": self._ready, "progress": round(self._progress, 3),
            "words": self._words,
        }  # fmt: skip

    def invert(self, smashed: Tensor, wishes: Sequence[Wish]) -> Inverted | None:
        """See `Member`."""
        if not self._ready:
            return None
        with self._lock:
            return Inverted(self._answering.invert(smashed, wishes), [True] * len(wishes))

    def _load(self) -> bool:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not self._path.is_file():
            return False
        try:
            self._answering.load(load_file(self._path))
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            say(f"{self._path} is damaged ({reason(error)}); the decoder is trained again")
            return False
        self._progress, self._words, self._ready = 1.0, "ready", True
        self._report()
        return True

    def _train(self) -> None:
        from safetensors.torch import save_file

        def tell(share: float, weights: dict[str, Tensor]) -> None:
            with self._lock:
                self._answering.load(weights)
            self._progress, self._ready = share, True
            self._words = f"learns, {share:.0%} done"
            self._report()

        self._words = "learns"
        self._report()
        try:
            self._learning.train(self._images, self._release, tell)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with new_path(self._path) as part:
                save_file(self._learning.weights(), part)
            self._words = "ready"
        except Exception as error:  # the other attackers go on
            say(f"The attacker {self._name} stopped learning: {reason(error)}")
            self._words = "stopped learning"
        self._report()
