"""Sentences that are typed, in the terminal or word by word from a data set: each change is something to send.

A terminal is read key by key, so that a server sees a sentence grow; from a pipe or a file come whole lines.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import sys
import time
from collections import deque
from collections.abc import Sequence
from math import inf
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.splits import NO_CLASS, Dataset
from cutlayer.data.text import Tokenizer
from cutlayer.edge.frames import Frame, Frames, Sent
from cutlayer.errors import DataError
from cutlayer.sequences import PAD, lengths
from cutlayer.terminal import show_typed

termios: ModuleType | None
try:
    import termios
except ImportError:  # a system without it gives whole lines
    termios = None

MOST_LETTERS = 2000
"""Letters of one line that are kept."""
HOLD_S = 2.5
"""How long a whole sentence of a data set stays, before the next one begins."""
_ENTER, _ERASE, _CLEAR, _END, _ESCAPE = "\r\n", "\x7f\b", "\x15", "\x04", "\x1b"


class Typed(Frames, Protocol):
    """Frames that are there only after a change; see `Frames`."""

    def changed(self, timeout_s: float) -> bool:
        """Wait for something else to send than the last frame; whether there is, or nothing more will come."""


class Lines:
    """What is typed in a terminal, key by key, or the lines of a pipe; see `Typed`.

    Ctrl-D ends it, and so does the end of a pipe. Ctrl-U clears the line.

    Args:
        tokenizer: Makes tokens of text.
        length: Tokens of a sentence at most; what is longer is cut off.
        fd: The file that is read; standard input if None.
    """

    def __init__(self, tokenizer: Tokenizer, length: int, fd: int | None = None) -> None:
        self._tokenizer, self._length = tokenizer, length
        self._fd = sys.stdin.fileno() if fd is None else fd
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line, self._sent, self._escaped = "", "", ""
        self._whole: deque[str] = deque()
        self._ended = False
        self.total: int | None = None
        self.skipped, self.due, self.note = 0, "", ""
        tokenizer.ids(["a"], length)  # what is wrong with it is said before anything is typed
        self._before = _by_key(self._fd)

    def example(self) -> NDArray[np.int64]:
        """See `Frames`."""
        return self._ids("a")

    def changed(self, timeout_s: float) -> bool:
        """See `Typed`."""
        end = time.monotonic() + timeout_s
        while not (self._ended or self._whole or self._differs()):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._fd], [], [], left)[0]:
                return False
            self._read()
        return True

    def take(self, number: int) -> Frame | None:
        """See `Frames`: the newest line, or the one before where nothing was typed since."""
        while not (self._ended or self._whole) and select.select([self._fd], [], [], 0)[0]:
            self._read()
        if self._whole:
            self._sent = self._whole.popleft()
        elif self._differs():
            self._sent = self._line
        elif self._ended:
            return None
        return Frame(Sent(0, number, number), self._ids(self._sent), NO_CLASS)

    def label(self, number: int) -> int | None:
        """See `Frames`."""
        return NO_CLASS

    def close(self) -> None:
        """See `Frames`; the terminal is as it was before."""
        if self._before is not None and termios is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
            self._before = None

    def _differs(self) -> bool:
        """Whether the line that is typed is another one than was sent; in a pipe only whole lines count."""
        return self._before is not None and bool(self._line.strip()) and self._line != self._sent

    def _read(self) -> None:
        content = os.read(self._fd, 4096)
        for letter in self._decoder.decode(content, final=not content):
            self._take(letter)
        if not content:
            self._take("\n")
            self._ended = True
        if self._before is not None:
            show_typed(self._line)

    def _take(self, letter: str) -> None:
        if self._escaped or letter == _ESCAPE:  # an arrow or the like, which moves nothing here
            self._escaped += letter
            if len(self._escaped) > 1 and letter != "[" and not letter.isdigit() and letter != ";":
                self._escaped = ""
        elif letter in _ENTER:
            # In a terminal the line was sent as it grew, but for what came since the last look.
            if self._line.strip() and self._line != self._sent:
                self._whole.append(self._line)
            self._line = ""
            if self._before is not None:
                show_typed(None)
        elif self._before is not None and letter in _ERASE:
            self._line = self._line[:-1]
        elif self._before is not None and letter == _CLEAR:
            self._line = ""
        elif self._before is not None and letter == _END:
            self._ended = True
        elif (letter.isprintable() or letter == "\t") and len(self._line) < MOST_LETTERS:
            self._line += " " if letter == "\t" else letter

    def _ids(self, text: str) -> NDArray[np.int64]:
        return self._tokenizer.ids([text], self._length)


class Given:
    """A few sentences, of which each stays for a while, and the last one until the end; see `Typed`.

    Args:
        tokenizer: Makes tokens of text.
        length: Tokens of a sentence at most; what is longer is cut off.
        texts: The sentences.

    Raises:
        DataError: A sentence has no token.
    """

    def __init__(self, tokenizer: Tokenizer, length: int, texts: Sequence[str]) -> None:
        self._ids = tokenizer.ids(texts, length)
        for text, own in zip(texts, self._ids, strict=True):
            if not own.any():
                raise DataError(f"The sentence {text!r:.80} has no token; type words.")
        self._next, self._until = 0, 0.0
        self.total: int | None = None
        self.skipped, self.due, self.note = 0, "", ""

    def example(self) -> NDArray[np.int64]:
        """See `Frames`."""
        return self._ids[:1]

    def changed(self, timeout_s: float) -> bool:
        """See `Typed`."""
        return _waited(self._until if self._next < len(self._ids) else inf, timeout_s)

    def take(self, number: int) -> Frame | None:
        """See `Frames`: the next sentence, or the one that stays."""
        if time.monotonic() >= self._until and self._next < len(self._ids):
            self._next, self._until = self._next + 1, time.monotonic() + HOLD_S
        place = max(0, self._next - 1)
        return Frame(Sent(0, place, number), self._ids[place : place + 1], NO_CLASS)

    def label(self, number: int) -> int | None:
        """See `Frames`."""
        return NO_CLASS

    def close(self) -> None:
        """See `Frames`."""


class Dictated:
    """The sentences of a data set, one token more at a time, and then the next one; see `Typed`.

    Args:
        sentences: The sentences, ``(N, T)``.
    """

    def __init__(self, sentences: Dataset) -> None:
        self._ids: NDArray[Any] = sentences.inputs
        if not len(self._ids):
            raise DataError("The data set has no sentence to send.")
        ends = self._ids[np.arange(len(self._ids)), lengths(self._ids) - 1]
        # A mark behind every sentence, such as [SEP], stands behind each beginning of one as well.
        self._mark = int(ends[0]) if len(ends) > 1 and (ends == ends[0]).all() else PAD
        self._sentence, self._n, self._until = 0, 0, 0.0
        self.total: int | None = None
        self.skipped, self.due, self.note = 0, "", ""

    def example(self) -> NDArray[np.int64]:
        """See `Frames`."""
        return self._ids[:1]

    def changed(self, timeout_s: float) -> bool:
        """See `Typed`."""
        return _waited(self._until, timeout_s)

    def take(self, number: int) -> Frame | None:
        """See `Frames`: one token more, or the whole sentence again while it stays."""
        length = int(lengths(self._ids[self._sentence : self._sentence + 1])[0])
        if time.monotonic() >= self._until:
            if self._n == length:
                self._sentence, self._n = (self._sentence + 1) % len(self._ids), 0
                length = int(lengths(self._ids[self._sentence : self._sentence + 1])[0])
            self._n = min(length, self._n + 1) if self._mark == PAD or self._n else min(length, 2 + bool(self._mark))
            if self._n == length:
                self._until = time.monotonic() + HOLD_S
        ids = np.full((1, self._ids.shape[1]), PAD, np.int64)
        ids[0, : self._n] = self._ids[self._sentence, : self._n]
        if self._mark != PAD:
            ids[0, self._n - 1] = self._mark
        return Frame(Sent(0, self._sentence, number), ids, NO_CLASS)

    def label(self, number: int) -> int | None:
        """See `Frames`."""
        return NO_CLASS

    def close(self) -> None:
        """See `Frames`."""


def _waited(until: float, timeout_s: float) -> bool:
    """Wait for a time (`time.monotonic`), but not longer than this; whether it has come."""
    left = until - time.monotonic()
    time.sleep(min(max(0.0, left), timeout_s))
    return left <= timeout_s


def _by_key(fd: int) -> list[Any] | None:
    """Let a terminal give each key at once, and return its settings; None where the file is no terminal."""
    if termios is None or not os.isatty(fd):
        return None
    before: list[Any] = termios.tcgetattr(fd)
    now = termios.tcgetattr(fd)
    now[3] &= ~(termios.ICANON | termios.ECHO)
    with contextlib.suppress(termios.error):
        termios.tcsetattr(fd, termios.TCSADRAIN, now)
    return before
