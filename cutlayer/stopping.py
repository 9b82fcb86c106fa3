"""SIGTERM and SIGHUP end a command as Ctrl-C does: it unwinds, writes what it has, and ends with its own exit code.

The signals raise `Stopped` in the main thread. A library may be computing there, and return to Python only later; after
`GRACE_S` the process is ended without it, with the `last_words` of what was under way. It is also ended if it has not
unwound after `UNWIND_S`.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

GRACE_S = 1.5
"""Seconds after which a main thread that has not returned to Python is no longer waited for."""

UNWIND_S = 30.0
"""Seconds after which a main thread that unwinds is no longer waited for."""

LAST_WORDS_S = 0.4
"""Seconds for the last words."""

NUMBERS = (signal.SIGTERM, signal.SIGHUP)

_WAKE = signal.SIGURG
"""A signal that is ignored unless somebody asks for it, and does nothing here but end the main thread's wait."""

_LOST = 128
"""Added to the number of a signal, and written into the pipe where signals write their numbers, when the exception of
that signal was raised where Python cannot pass it on, and has been dropped."""


class Stopped(KeyboardInterrupt):
    """A service manager ended the process, or its terminal was closed; `str` is the name of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopSignal:
    """SIGTERM and SIGINT, for a server that waits for one of them in the main thread, in place of what `heed` does.

    The handlers use a queue and no `threading.Event`: a handler runs in the main thread, and an event waits for ever
    where the main thread is about to wait for the same event and holds its lock.
    """

    def __init__(self) -> None:
        self._heard = queue.SimpleQueue[int]()
        self._number: int | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._heard.put(number))

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for a signal, without end if no time is given; return whether one came."""
        if self._number is None:
            with contextlib.suppress(queue.Empty):
                self._number = self._heard.get(timeout=timeout_s)
        return self._number is not None

    @property
    def number(self) -> int | None:
        """The number of the first signal that came; None where none came."""
        self.wait(0)
        return self._number


def leave(stop: KeyboardInterrupt) -> NoReturn:
    """Exit with the code for Ctrl-C or for another signal, as a shell gives it: 130, 143, 129.

    All has been unwound before, and what Python does at its end, with libraries as large as torch, takes seconds.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(128 + _number(stop))


def _number(stop: KeyboardInterrupt) -> int:
    return stop.number if isinstance(stop, Stopped) else signal.SIGINT


def heed() -> None:
    """Raise `Stopped` in the main thread, which calls this, at the first SIGTERM or SIGHUP; ignore those that follow.

    Where Python drops the exception of one of these, or of Ctrl-C, the signal is raised again: a library calls Python
    from functions that cannot pass an exception on, such as `__del__` or a check after a call of ZeroMQ. Where another
    thread than the main one gets a signal, the main one is woken, also for a handler that takes the place of these.

    A process that runs as PID 1, as in a container, would ignore SIGTERM otherwise. A signal that is ignored already
    stays so: `nohup` ignores SIGHUP.
    """
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    for number in NUMBERS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)
    signal.signal(_WAKE, lambda *_: None)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # Written to in the signal's own context, also while a library computes in the main thread.
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_forget)
    report = sys.unraisablehook

    def unraisable(lost: Any) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt):
            os.write(writing, bytes([_LOST + _number(lost.exc_value)]))
        else:
            report(lost)

    sys.unraisablehook = unraisable
    threading.Thread(target=_watch, args=(reading,), name="stopping", daemon=True).start()


@contextlib.contextmanager
def last_words(say: Callable[[], object]) -> Iterator[None]:
    """What is called, in another thread, if the process must end while the main thread computes in this block."""
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.remove(say)


_last_words: list[Callable[[], object]] = []
_raised = False
"""Whether the main thread has been told; no `threading.Event`, as in `StopSignal`, because a second signal may come."""


def _stop(number: int, _: FrameType | None) -> None:
    global _raised
    if not _raised:
        _raised = True
        raise Stopped(number)


def _watch(reading: int) -> None:
    global _raised
    while True:
        (byte,) = os.read(reading, 1)
        if byte > _LOST:
            time.sleep(0.01)
            _raised = False
            signal.pthread_kill(threading.main_thread().ident or 0, byte - _LOST)
            continue
        if byte in (*NUMBERS, signal.SIGINT):
            # The system may deliver it to another thread, and Python handles it in the main one, which may wait.
            signal.pthread_kill(threading.main_thread().ident or 0, _WAKE)
        if byte in NUMBERS and signal.getsignal(byte) is _stop:
            end_s = time.monotonic() + GRACE_S
            while not _raised and time.monotonic() < end_s:
                time.sleep(0.01)
            if not _raised:
                _end(128 + byte, "stopped in the middle of a computation")
            late = threading.Timer(UNWIND_S, _end, (128 + byte, f"stopped, but did not end within {UNWIND_S:g} s"))
            late.daemon = True
            late.start()


def _end(code: int, how: str) -> None:
    def speak() -> None:
        for say in reversed(_last_words):
            with contextlib.suppress(Exception):
                say()
        with contextlib.suppress(Exception):
            os.write(2, f"cutlayer: {how}.\n".encode())
            sys.stdout.flush()

    # The main thread may hold a lock that the words wait for.
    speaking = threading.Thread(target=speak, daemon=True)
    speaking.start()
    speaking.join(LAST_WORDS_S)
    os._exit(code)


def _forget() -> None:
    """A process that is forked, without another program, is ended by signals as any other."""
    signal.set_wakeup_fd(-1)
    sys.unraisablehook = sys.__unraisablehook__
    for number in NUMBERS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)
