"""The attackers side by side: each frame goes to all that have learned, behind the defense that its request states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import Access
from cutlayer.data.load import open_data
from cutlayer.defenses.base import Defense, deployed
from cutlayer.edge.wishes import Wish
from cutlayer.live.device import Picture, Read, Rebuilt
from cutlayer.live.local_ridge import LocalRidge, fits
from cutlayer.live.members import Member, Refitted, Told
from cutlayer.live.showing import Pictures, Sentences, Showing
from cutlayer.live.told_decoder import ToldDecoder, usable
from cutlayer.live.watch_list import WatchList
from cutlayer.privacy.view import oracle, view, wire
from cutlayer.registry import ATTACKS
from cutlayer.sequences import by_length, padded
from cutlayer.split_folder import only_smashed, open_split

if TYPE_CHECKING:
    from cutlayer.live.attack_plan import Plan
    from cutlayer.live.room import Waiting

MOST_AUXILIARY = 2000
"""Inputs of the attackers' own that are used."""


class Team:
    """The attackers of one split.

    Args:
        plan: See `cutlayer.live.attack_plan.Plan`.
        tell: Called with the state of all attackers when it changes, from any thread.
    """

    def __init__(self, plan: Plan, tell: Callable[[list[dict[str, Any]]], None]) -> None:
        self._plan, self._tell = plan, tell
        split = open_split(plan.folder)
        manifest = self._manifest = split.manifest
        self._head, self._base = only_smashed(split.head()), deployed(split)
        data = open_data(
            plan.data, plan.data_root, plan.seed, shape=manifest.input.shape, tokenizer=split.tokenizer
        )  # fmt: skip
        self._auxiliary = data.auxiliary.first_readable(MOST_AUXILIARY)[0]
        self._images = torch.from_numpy(self._auxiliary.inputs)
        self._showing: Showing = Sentences(data.words) if manifest.sequence else Pictures(self._auxiliary.inputs)
        self._members: dict[str, Member] = {name: self._member(name) for name in plan.names}
        self._report()
        for member in self._members.values():
            member.start()
        # What a device sends of a data set is its test inputs. Who types says much that is on no list.
        self._list = WatchList(
            data.test.first_readable(MOST_AUXILIARY)[0].inputs, self._released, self._showing.kept,
            self._showing.candidate, only_sure=manifest.sequence,
        )  # fmt: skip

    def attack(self, frames: Sequence[Waiting], chosen: Sequence[str] | None) -> Iterator[tuple[str, Picture]]:
        """What the attackers make of each frame, by the id of its device."""
        arrived_in = [one.frame.smashed for one in frames]
        if (length := self._manifest.length) is not None:
            arrived_in = [padded(one, length) for one in arrived_in]
        smashed = torch.from_numpy(np.concatenate(arrived_in).astype(np.float32))
        wishes = [one.frame.wish or Wish() for one in frames]
        originals = [one.original for one in frames]
        places = [one.frame.smashed.shape[1] for one in frames]
        rebuilt: list[list[Rebuilt | Read]] = [[] for _ in frames]
        for name, member in self._members.items():
            if (chosen is not None and name not in chosen) or (made := member.invert(smashed, wishes)) is None:
                continue
            for row, input, learned, original, n in zip(rebuilt, *made, originals, places, strict=True):
                row.append(self._showing.made(name, input.detach().numpy(), original, n)._replace(learned=learned))
        for one, arrived, wish, row in zip(frames, smashed, wishes, rebuilt, strict=True):
            named = self._list.name(arrived.numpy(), wish, one.original)
            seen = None if one.original is None else self._showing.original(one.original)
            stated = None if one.frame.wish is None else one.frame.wish.title
            yield one.device, Picture(one.frame.number, seen, tuple(row), named, one.frame.prediction, stated)

    def _member(self, name: str) -> Member:
        input, smashed = self._manifest.input.shape, self._manifest.smashed.shape
        if name == "decoder" and usable(input, smashed):
            key = {
                "split": self._manifest.version, "defense": self._manifest.defense, "data": self._plan.data,
                "seed": self._plan.seed, "images": len(self._images),
            }  # fmt: skip
            make = partial(ToldDecoder, input, smashed, seed=self._plan.seed)
            return Told(name, make, self._images, self._release, self._plan.cache, key, self._report)
        return Refitted(name, partial(self._made, name), self._fit, self._report)

    def _made(self, name: str) -> Attack:
        if name == "ridge" and fits(self._manifest.input.shape, self._manifest.smashed.shape):
            return LocalRidge()
        attack: Attack = ATTACKS.make(name)
        return attack

    def _fit(self, attack: Attack, wish: Wish) -> None:
        """Fit an attack on what a black-box attacker may touch, who knows the defense and its strength."""
        defense: Defense = self._base.then(wish.make()) if wish.strength else self._base
        manifest = self._manifest
        query = oracle(wire(self._head, defense, "raw", [self._plan.seed, 1], manifest.length))
        seen = view(
            Access.BLACK_BOX, input=manifest.input, smashed=manifest.smashed, auxiliary=self._auxiliary, query=query,
            defense=defense, device=torch.device("cpu"), seed=self._plan.seed,
        )  # fmt: skip
        attack.fit(seen)

    def _release(self, images: Tensor, wish: Wish) -> Tensor:
        """What arrives for images behind a switched defense, with fresh draws."""
        arrived = self._released(images.numpy())
        if wish.strength:
            arrived = wish.make().protect(arrived, np.random.default_rng())
        return torch.from_numpy(np.ascontiguousarray(arrived))

    def _released(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        def sent(part: NDArray[Any]) -> NDArray[np.float32]:
            rng = np.random.default_rng()
            protected: NDArray[np.float32] = self._base.protect(self._head(self._base.rewrite(part, rng)), rng)
            return protected

        length = self._manifest.length
        return sent(inputs) if length is None else by_length(sent, inputs, length)

    def _report(self) -> None:
        self._tell([member.state() for member in self._members.values()])
