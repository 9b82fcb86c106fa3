"""Sentences that somebody says, each sent once, and what is answered, in words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.load import open_data
from cutlayer.data.splits import NO_CLASS
from cutlayer.data.text import Tokenizer
from cutlayer.data.words import pieces
from cutlayer.edge.frames import Frame, Sent
from cutlayer.errors import CutlayerError, DataError
from cutlayer.models.manifest import Manifest
from cutlayer.sequences import PAD, lengths
from cutlayer.split_folder import SplitFolder
from cutlayer.terminal import say

MOST_LETTERS = 1 << 16
"""Letters of one line that are read."""
SHOWN = 3
"""Classes or words that an answer names, and numbers of a vector."""

Answered = Callable[[Frame, NDArray[Any]], str]
"""From a frame and the answer to it, ``(1, n)``, to a line for the terminal."""


class Said:
    """Sentences as frames, see `cutlayer.edge.frames.Frames`: those that are given, or the lines of standard input.

    Args:
        split: The split, whose tokenizer makes tokens of them.
        texts: The sentences; the lines of standard input if there are none.

    Raises:
        DataError: The split takes no sentences.
    """

    def __init__(self, split: SplitFolder, texts: Sequence[str]) -> None:
        tokenizer, length = split.tokenizer, split.manifest.length
        if tokenizer is None or length is None:
            raise DataError(f"{split.path} takes no sentences, or has no tokenizer; leave out --text.")
        self._tokenizer, self._length = tokenizer, length
        self._texts: Iterator[str] = iter(texts) if texts else _lines()
        self.total: int | None = len(texts) or None
        for text in texts:
            self._check(text)
        self.skipped, self.due, self.note = 0, "", ""
        self._cut = 0

    def example(self) -> NDArray[np.int64]:
        """See `Frames`."""
        return self._ids("a")

    def take(self, number: int) -> Frame | None:
        """See `Frames`."""
        text = next(self._texts, None)
        return None if text is None else Frame(Sent(0, number, 0), self._ids(text), NO_CLASS)

    def label(self, number: int) -> int | None:
        """See `Frames`."""
        return NO_CLASS

    def close(self) -> None:
        """See `Frames`."""

    def _check(self, text: str) -> None:
        """Refuse what says nothing, before anything was sent where it is known by then."""
        if not {*self._tokenizer.ids([text], self._length).ravel().tolist()} - {PAD, *self._tokenizer.marks}:
            raise DataError(f"The sentence {text!r:.80} has no token; write words.")

    def _ids(self, text: str) -> NDArray[np.int64]:
        ids = self._tokenizer.ids([text], self._length + 1)
        n = int(lengths(ids)[0])
        self._check(text)
        if n > self._length:
            self._cut += 1
            which = "1 sentence was" if self._cut == 1 else f"{self._cut:,} sentences were"
            self.note = f"{which} cut off after {self._length:,} tokens, the most that the head takes"
            ids = self._tokenizer.ids([text], self._length)
        return ids[:, : self._length]


def _lines() -> Iterator[str]:
    """The lines of standard input that are not empty, each as soon as it is whole."""
    if sys.stdin.isatty():
        say("Type a sentence, and Enter sends it; Ctrl-D ends.")
    while line := sys.stdin.buffer.readline(MOST_LETTERS):
        if text := " ".join(line.decode("utf-8", "replace").split()):
            yield text


def in_words(split: SplitFolder, seed: int, root: Path | None) -> Answered:
    """What says an answer in words: its classes by name where the data set is at hand, a token, or a vector."""
    manifest, tokenizer = split.manifest, split.tokenizer
    assert tokenizer is not None
    shown = pieces(tokenizer.words)
    names = _names(manifest, tokenizer, seed, root)

    def said(frame: Frame, answer: NDArray[Any]) -> str:
        values = np.asarray(answer, np.float64)[0]
        tokens = int(lengths(frame.image)[0])
        lacking = int(np.sum(frame.image == tokenizer.unknown)) if tokenizer.unknown is not None else 0
        note = f",{f' {lacking:,} of them' if tokens > 1 else ''} not in the vocabulary" if lacking else ""
        one = f"{tokens:,} {'token' if tokens == 1 else 'tokens'}{note}: "
        if len(names) == len(values):
            best = np.argsort(-values)[:SHOWN]
            shares = np.exp(values - values.max()) / np.exp(values - values.max()).sum()
            return one + ", ".join(f"{names[k]} {shares[k]:.1%}" for k in best)
        if len(values) == tokenizer.size - tokenizer.shift:
            best = np.argsort(-values)[:SHOWN]
            return f"{one}next {', '.join(shown[k + tokenizer.shift].text for k in best)}"
        numbers = " ".join(f"{value:.3f}" for value in values[:SHOWN])
        return f"{one}{len(values):,} numbers {numbers} ..., length {np.linalg.norm(values):.3f}"

    return said


def _names(manifest: Manifest, tokenizer: Tokenizer, seed: int, root: Path | None) -> tuple[str, ...]:
    """The names of the classes, or their numbers where the data set is not here; none where the answer is no class."""
    if manifest.data is None:
        return ()
    try:
        data = open_data(manifest.data, root, seed, shape=manifest.input.shape, tokenizer=tokenizer)
    except CutlayerError:
        return ()
    return data.classes if len(data.classes) == manifest.classes else ()
