"""How far a long loop is, and how long the rest takes: told while it runs, or estimated from its first steps.

A loop that may take seconds is written as ``for epoch in track(range(epochs), "training the decoder")``. Under `told`,
a loop that runs for more than 5 s says what share is done and how much time is left. Under `rehearsed`, each loop ends
after a short while, and the time of the steps that were left out is estimated. Otherwise `track` adds nothing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")

FIRST_S, EVERY_S = 5.0, 10.0
"""A loop first speaks after this time, and then at these intervals."""


class Watcher(Protocol):
    """What follows the loops of a thread."""

    def follow(self, items: Sequence[T], what: str) -> Iterator[T]:
        """The items, one by one; all of them, or the first."""
        ...

    def note(self, text: str) -> None:
        """A figure that the innermost loop has to show, such as its loss."""
        ...


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


def track(items: Sequence[T], what: str = "") -> Iterator[T]:
    """The items of a loop, whose progress is told or estimated.

    Args:
        items: What the loop goes through. A loop whose result needs every item, such as one that collects a list, is
            not tracked, because a rehearsal ends it early.
        what: What the loop does, such as "training the decoder"; only the outermost loop needs it.
    """
    watcher = _watcher.get()
    return watcher.follow(items, what) if watcher else iter(items)


def note(text: str) -> None:
    """Give a figure, such as "loss 0.41", to be told with the progress."""
    if watcher := _watcher.get():
        watcher.note(text)


@contextmanager
def told(say: Callable[[str], None]) -> Iterator[None]:
    """Within it, every loop that takes more than 5 s says how far it is: ``training: 35 %, about 40 s left``."""
    token = _watcher.set(_Teller(say))
    try:
        yield
    finally:
        _watcher.reset(token)


@contextmanager
def rehearsed(most_s: float = 1.0) -> Iterator["Rehearsal"]:
    """Within it, every loop ends after `most_s` seconds, but not before its second step.

    What the loops produce is then of no use; the time that they would have taken is read from the `Rehearsal`.
    """
    rehearsal = Rehearsal(most_s)
    token = _watcher.set(rehearsal)
    try:
        yield rehearsal
    finally:
        _watcher.reset(token)


class Rehearsal:
    """A clock that runs on as if every loop had gone through all its items."""

    def __init__(self, most_s: float) -> None:
        self._most_s, self._omitted_s = most_s, 0.0

    def now_s(self) -> float:
        """Seconds of real time, and of the steps that were left out."""
        return time.perf_counter() + self._omitted_s

    def follow(self, items: Sequence[T], what: str) -> Iterator[T]:
        """The first items. The first step warms up, so the mean of the others stands for those left out."""
        begin_s, real_s, first_s = self.now_s(), time.perf_counter(), 0.0
        for done, item in enumerate(items, 1):
            yield item
            spent_s = self.now_s() - begin_s
            if done == 1:
                first_s = spent_s
            elif time.perf_counter() - real_s >= self._most_s:
                self._omitted_s += (spent_s - first_s) / (done - 1) * (len(items) - done)
                return

    def note(self, text: str) -> None:
        """A rehearsal shows no figures."""


@dataclass
class _Loop:
    what: str
    of: int
    begin_s: float
    done: int = 0


class _Teller:
    """Says how far the outermost loop is, whose current step counts by the share that its inner loops have done."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._loops, self._note = say, list[_Loop](), ""
        self._next_s = 0.0

    def follow(self, items: Sequence[T], what: str) -> Iterator[T]:
        loop, depth = _Loop(what, len(items), time.perf_counter()), len(self._loops)
        if not depth:
            self._next_s, self._note = loop.begin_s + FIRST_S, ""
        self._loops.append(loop)
        try:
            for item in items:
                yield item
                loop.done += 1
                self._tell()
        finally:
            del self._loops[depth:]
        if not depth and self._next_s > loop.begin_s + FIRST_S:
            spent = words(time.perf_counter() - loop.begin_s)
            self._say(", ".join(filter(None, [f"{what or 'working'}: done in {spent}", self._note])))

    def note(self, text: str) -> None:
        self._note = text

    def _tell(self) -> None:
        now_s, share = time.perf_counter(), 0.0
        if now_s < self._next_s:
            return
        for loop in reversed(self._loops):
            share = min(1.0, (loop.done + share) / loop.of)
        if share == 1:
            return
        self._next_s = now_s + EVERY_S
        what = next((loop.what for loop in self._loops if loop.what), "working")
        left = words((now_s - self._loops[0].begin_s) * (1 / share - 1))
        self._say(", ".join(filter(None, [f"{what}: {share:.0%}", self._note, f"about {left} left"])))


def words(seconds: float) -> str:
    """A duration as people say it: 8 s, 4 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
