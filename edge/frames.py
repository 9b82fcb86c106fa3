"""What a device sends, one frame at a time: the images of a data set, or those that somebody else takes."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.splits import Splits, unreadable
from cutlayer.errors import ConfigError

MOST_BY_DEFAULT = 500


class Sent(NamedTuple):
    """The image of a request: its part (0 test, 1 private), its index there, and its repetition from 0."""

    part: int
    image: int
    release: int


class Frame(NamedTuple):
    """One image to send.

    Attributes:
        sent: Which image it is.
        image: ``(1, *input.shape)``: an image, a row of a table, or the ids of the tokens of a sentence.
        label: Its class, or `NO_CLASS`.
        taken_ns: When it was there to be sent (`time.monotonic_ns`); None if it always was.
    """

    sent: Sent
    image: NDArray[Any]
    label: int
    taken_ns: int | None = None


class Frames(Protocol):
    """The frames of one run, by number from 0.

    Attributes:
        total: Number of frames; None if they end only when the run is stopped.
        skipped: Number of frames that were there and were never asked for.
        due: What decides when a frame is to be sent, as text; empty if it is there at any time.
        note: What a reader of the results should know, such as images that are left out.
    """

    total: int | None
    skipped: int
    due: str
    note: str

    def example(self) -> NDArray[Any]:
        """Return an image for the requests that do not count, ``(1, *input.shape)``."""

    def take(self, number: int) -> Frame | None:
        """Return the frame with this number, or None if there are no more; in order, each once."""

    def label(self, number: int) -> int | None:
        """Return the class of a test image that was sent under this number, or `NO_CLASS`; None if it was private."""

    def close(self) -> None:
        """Release what was opened."""


class Planned:
    """The test images, and then all private ones once per release.

    Args:
        splits: The data set.
        count: Number of test images; all, but at most `MOST_BY_DEFAULT`, if None.
        private: Number of private images.
        releases: Number of times that each private image is sent.
        loop: Whether to begin again after the last one.

    Raises:
        ConfigError: There are fewer images than were asked for.
    """

    def __init__(self, splits: Splits, count: int | None, private: int, releases: int, *, loop: bool = False) -> None:
        if loop and private:
            raise ConfigError("--private and --loop exclude each other: private inputs are sent --releases times.")
        test, faults = splits.test.first_readable(max(MOST_BY_DEFAULT if count is None else count, 1))
        victims, more = splits.private.first_readable(max(private, 1))
        count = len(test) if count is None else count
        many = splits.modality.one[1]
        for name, wanted, part in (("test", count, test), ("private", private, victims)):
            if wanted > len(part):
                raise ConfigError(f"{splits.name} has only {len(part):,} {name} {many}; {wanted:,} were asked for.")
        notes = [unreadable([*faults, *more])] if faults or more else []
        if splits.alone:
            notes.append(f"{splits.name} holds too few {many} for several parts: all are sent, in their order.")
        self._parts, self.note = (test, victims), " ".join(notes)
        self._count, self._private, self._each_round = count, private, count + private * releases
        self.total, self.skipped, self.due = None if loop else self._each_round, 0, ""
        if loop and not count:
            raise ConfigError("--loop needs at least one input; give --count 1 or more.")

    def example(self) -> NDArray[np.float32]:
        """See `Frames`."""
        return self._parts[0].one(0)

    def take(self, number: int) -> Frame | None:
        """See `Frames`."""
        sent = self._sent(number)
        part = self._parts[sent.part]
        return Frame(sent, part.one(sent.image), int(part.labels[sent.image]))

    def label(self, number: int) -> int | None:
        """See `Frames`."""
        sent = self._sent(number)
        return None if sent.part else int(self._parts[0].labels[sent.image])

    def close(self) -> None:
        """See `Frames`."""

    def _sent(self, number: int) -> Sent:
        finished, place = divmod(number, self._each_round)
        if place < self._count:
            return Sent(0, place, finished)
        release, image = divmod(place - self._count, self._private)
        return Sent(1, image, release)
