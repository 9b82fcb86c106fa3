"""The attackers of a room, seen from the server: a process of their own, which never keeps a device waiting.

They get the newest frame of each device when they have finished the frames before, and the frames in between are
dropped. The process has a low priority and one thread.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from multiprocessing.connection import Connection, wait
from typing import Any

from cutlayer.live.attack_plan import Plan
from cutlayer.live.attacking import work
from cutlayer.live.room import Room
from cutlayer.terminal import say

QUIET_S = 0.25
"""Longest time between two looks at what is waiting."""
AGAIN_S = 5.0
"""Pause before attackers that have ended by themselves are started again."""
STOP_S = 5.0


class Attackers:
    """The attackers' process, started again when it ends by itself. Close it after use.

    Args:
        room: Where frames come from, and pictures go.
        plan: What the process does.
    """

    def __init__(self, room: Room, plan: Plan) -> None:
        self._room, self._plan = room, plan
        self._closing = threading.Event()
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._writes, False)
        os.set_blocking(self._reads, False)
        room.listen(self._wake)
        self._thread = threading.Thread(target=self._run, name="attackers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the process."""
        self._closing.set()
        self._room.unlisten(self._wake)
        self._wake()
        self._thread.join(2 * STOP_S)
        os.close(self._reads)
        os.close(self._writes)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._writes, b"x")

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._attend()
            except (EOFError, OSError) as error:
                if self._closing.is_set():
                    return
                say(f"The attackers have ended ({type(error).__name__}); they are started again in {AGAIN_S:g} s.")
                self._room.show_attackers([])
                self._closing.wait(AGAIN_S)

    def _attend(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, self._plan), name="attackers", daemon=True)
        process.start()
        theirs.close()
        try:
            self._feed(ours)
        finally:
            with contextlib.suppress(OSError):
                ours.close()
            process.join(STOP_S)
            if process.is_alive():
                process.kill()
                process.join()

    def _feed(self, ours: Connection) -> None:
        idle = False
        while not self._closing.is_set():
            for ready in wait([ours, self._reads], QUIET_S):
                if ready is ours:
                    idle = self._hear(ours.recv()) or idle
                else:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._reads, 4096)
            if idle and (frames := self._room.take()):
                ours.send((frames, self._room.attackers_chosen))
                idle = False

    def _hear(self, said: tuple[str, Any]) -> bool:
        """Take a message of the process; return whether it waits for frames."""
        kind, content = said
        if kind == "attackers":
            self._room.show_attackers(content)
        elif kind == "picture":
            self._room.show(*content)
        return kind == "idle"
