"""The attackers side by side: each frame goes to all that are ready, behind the defense that its request states."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import View
from cutlayer.data.load import open_data
from cutlayer.defenses.base import Defense, deployed
from cutlayer.edge.wishes import Wish
from cutlayer.live.device import Picture, Rebuilt
from cutlayer.live.local_ridge import LocalRidge, fits
from cutlayer.live.pictures import bytes_of, data_url
from cutlayer.privacy.view import oracle, view, wire
from cutlayer.registry import ATTACKS
from cutlayer.split_folder import only_smashed, open_split
from cutlayer.terminal import say

if TYPE_CHECKING:
    from cutlayer.live.attack_plan import Plan
    from cutlayer.live.room import Waiting

KEPT = 24
"""Fitted attacks that are kept, one for each attacker and setting of the defense."""
MOST_AUXILIARY = 2000
"""Pictures of the attackers' own that are used."""
TOLD_EACH_S = 0.5
"""Seconds between two reports of progress."""


class Team:
    """The attackers of one split.

    Args:
        plan: See `cutlayer.live.attack_plan.Plan`.
        tell: Called with the state of all attackers when it changes, from any thread.
    """

    def __init__(self, plan: Plan, tell: Callable[[list[dict[str, Any]]], None]) -> None:
        self._plan, self._tell = plan, tell
        split = open_split(plan.folder)
        self._manifest, self._head, self._base = split.manifest, only_smashed(split.head()), deployed(split)
        data = open_data(plan.data, plan.data_root, plan.seed, shape=split.manifest.input.shape)
        self._auxiliary = data.auxiliary.first_readable(MOST_AUXILIARY)[0]
        self._mean = torch.from_numpy(self._auxiliary.inputs).mean(0)
        self._members: dict[str, Refitted] = {}
        for name in plan.names:
            self._members[name] = Refitted(name, self, self._report)
        self._report()

    def attack(self, frames: Sequence[Waiting], chosen: Sequence[str] | None) -> Iterator[tuple[str, Picture]]:
        """What the attackers make of each frame, by the id of its device."""
        for one in frames:
            smashed = torch.from_numpy(np.ascontiguousarray(one.frame.smashed, np.float32))
            original = None if one.original is None else torch.from_numpy(one.original.astype(np.float32) / 255)
            rebuilt = []
            for name, member in self._members.items():
                if chosen is not None and name not in chosen:
                    continue
                image = member.invert(smashed, one.frame.wish or Wish())
                if image is not None:
                    rebuilt.append(self._scored(name, image[0], original))
            seen = None if one.original is None else data_url(one.original)
            yield one.device, Picture(one.frame.number, seen, tuple(rebuilt), None)

    def view(self, wish: Wish) -> View:
        """What an attacker may touch who knows the defense and its strength."""
        from cutlayer.attacks.view import Access

        defense: Defense = self._base.then(wish.make()) if wish.strength else self._base
        manifest = self._manifest
        query = oracle(wire(self._head, defense, "raw", [self._plan.seed, 1]))
        return view(
            Access.BLACK_BOX, input=manifest.input, smashed=manifest.smashed, auxiliary=self._auxiliary, query=query,
            defense=defense, device=torch.device("cpu"), seed=self._plan.seed,
        )  # fmt: skip

    def made(self, name: str) -> Attack:
        """A new attack of this name."""
        if name == "ridge" and fits(self._manifest.input.shape, self._manifest.smashed.shape):
            return LocalRidge()
        attack: Attack = ATTACKS.make(name)
        return attack

    def _scored(self, name: str, image: Tensor, original: Tensor | None) -> Rebuilt:
        gain = psnr = None
        if original is not None:
            error = float((image - original).square().mean())
            usual = float((self._mean - original).square().mean())
            gain = round(1 - error / max(usual, 1e-9), 4)
            psnr = round(float(-10 * np.log10(max(error, 1e-10))), 2)
        return Rebuilt(name, data_url(bytes_of(_array(image))), gain, psnr)

    def _report(self) -> None:
        self._tell([member.state() for member in self._members.values()])


class Refitted:
    """An attack that is fitted anew, in a thread of its own, for each defense that frames state.

    Until it is, the last one that was fitted takes its place.
    """

    def __init__(self, name: str, team: Team, report: Callable[[], None]) -> None:
        self._name, self._team, self._report = name, team, report
        self._fitted: OrderedDict[str, Attack] = OrderedDict()
        self._asked: Wish | None = Wish()
        self._words = "learns"
        self._changed = threading.Condition()
        threading.Thread(target=self._fit, name=f"fit {name}", daemon=True).start()

    def state(self) -> dict[str, Any]:
        """What a page is told of it."""
        ready = bool(self._fitted)
        attack = self._team.made(self._name)
        return {
            "name": self._name, "title": f"{self._name}: {attack.plain_words}", "ready": ready,
            "progress": 1.0 if ready else 0.0, "words": self._words,
        }  # fmt: skip

    def invert(self, smashed: Tensor, wish: Wish) -> Tensor | None:
        """The image behind smashed data; None before anything is fitted."""
        with self._changed:
            attack = self._fitted.get(wish.title)
            if attack is None:
                self._asked = wish
                self._changed.notify()
                attack = next(reversed(self._fitted.values()), None)
            else:
                self._fitted.move_to_end(wish.title)
        return None if attack is None else attack.invert(smashed)

    def _fit(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked is not None)
                wish, self._asked = self._asked, None
            assert wish is not None
            if wish.title in self._fitted:
                continue
            self._words = f"learns what {wish.title} does" if wish.strength else "learns"
            self._report()
            attack = self._team.made(self._name)
            try:
                attack.fit(self._team.view(wish))
            except Exception as error:  # one attacker that fails leaves the others at work
                say(f"The attacker {self._name} failed behind {wish.title}: {error}")
                self._words = f"failed behind {wish.title}"
                self._report()
                continue
            with self._changed:
                self._fitted[wish.title] = attack
                while len(self._fitted) > KEPT:
                    self._fitted.popitem(last=False)
            self._words = f"knows {wish.title}" if wish.strength else "ready"
            self._report()


def _array(image: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = image.detach().numpy()
    return array
