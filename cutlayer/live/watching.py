"""A tap that grows, attacked while it is recorded: the page of a room, offline and read-only.

The attackers get what a server has written, and nothing else: no device is asked, told or seen. The page shows the
newest request of each session, and begins with the last ones that are there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.cloud.service import Seen, Service
from cutlayer.cloud.tap import check_split, place_of_last, read_from
from cutlayer.errors import CutlayerError
from cutlayer.foreign import shown
from cutlayer.live.app import application
from cutlayer.live.attack_plan import Plan
from cutlayer.live.attackers import Attackers
from cutlayer.live.code import screen_url
from cutlayer.live.device import MOST_NAME, Denied, Introduction
from cutlayer.live.room import Room
from cutlayer.live.serve import check_shown, class_names
from cutlayer.live.tokens import Tokens
from cutlayer.live.web import Web
from cutlayer.split_folder import Half, SplitFolder
from cutlayer.terminal import say
from cutlayer.wire.address import Address
from cutlayer.wire.join_code import origin

LAST = 20
"""Requests of the past with which the page begins."""
PAUSE_S = 0.1
"""Time between two looks at a tap to which nothing was added."""
MOST_SESSIONS = 50


@contextmanager
def watch_tap(
    tap: Path,
    split: SplitFolder,
    data: str,
    *,
    out: Path,
    attackers: tuple[str, ...],
    port: int = 0,
    data_root: Path | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """Show a page with what attackers make of a tap, on this machine, during the block.

    Args:
        tap: Folder that `cutlayer cloud --tap` writes.
        split: The split folder that is served.
        data: Name of the data set, whose auxiliary part is the attackers' own.
        out: Folder where the attackers keep what they have learned.
        attackers: Names of the attackers.
        port: Port of the page; 0 takes a free one.
        data_root: Folder of the data sets that are not embedded.
        seed: Seed of the data set's parts and of the attackers.

    Yields:
        The address of the page.

    Raises:
        ConfigError: The split takes neither images nor sentences.
        SplitError: The tap is recorded for another split.
        DataError: The folder holds no tap, or a damaged one.
        WireError: It cannot listen there.
    """
    check_shown(split)
    room = Room(split.manifest, class_names(split, data, data_root, seed), MOST_SESSIONS, read_only=True)
    following = _Following(tap, split, room)
    following.read()
    tokens = Tokens()
    with ExitStack() as opened:
        service = Service(split.manifest, following.tail)
        opened.callback(service.drain, 1.0)
        app = application(room, service, split, tokens)
        web = opened.enter_context(closing(Web(app, Address("http", "127.0.0.1", port), None, None, 64)))
        opened.enter_context(closing(Attackers(room, Plan(split.path, data, data_root, attackers, out, seed))))
        opened.enter_context(closing(following))
        following.start()
        yield screen_url(origin("http", "127.0.0.1", web.address.port), tokens.screen)


class _Following:
    """Hands each request that is added to a tap to a room, from a thread of its own."""

    def __init__(self, tap: Path, split: SplitFolder, room: Room) -> None:
        self._tap, self._manifest, self._room = tap, split.manifest, room
        self.tail: Half = split.tail(threads=1)
        self._place = place_of_last(tap, LAST)
        self._sessions: set[str] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="tap", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def read(self) -> None:
        """Hand on what was added. Raises SplitError or DataError."""
        for place, header, smashed in read_from(self._tap, self._place):
            check_split(self._tap, header, self._manifest)
            if self._fits(smashed.shape[1:]) and smashed.dtype == np.float32:
                self._show(header, smashed)
            self._place = place

    def _fits(self, shape: tuple[int, ...]) -> bool:
        known = self._manifest.smashed.shape
        return shape == known or (
            self._manifest.sequence and len(shape) == 2 and shape[1:] == known[1:] and 0 < shape[0] < known[0]
        )

    def _follow(self) -> None:
        while not self._closing.wait(PAUSE_S):
            try:
                self.read()
            except CutlayerError as error:
                say(f"{error} The page shows what was read before.")
                return

    def _show(self, header: Mapping[str, Any], smashed: NDArray[np.float32]) -> None:
        session = (
            shown(header.get("session") or header["owner"] or "requests", MOST_NAME).encode("ascii", "replace").decode()
        )
        if session not in self._sessions:
            try:
                self._room.admit(Introduction(session, "tap", session, False, ()))
            except Denied:
                return  # more sessions than a page has room for
            self._sessions.add(session)
        answers = self.tail(smashed[-1:])
        seen = Seen(
            session, header["id"], header.get("defense"), smashed[-1:], {"logits": answers}, header["length"],
            (0, 0, 0, 0),
        )  # fmt: skip
        self._room.see(seen)
