"""What a file says, read again while a server runs: who is admitted may change without a restart."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from cutlayer.errors import ConfigError

log = logging.getLogger("cutlayer.wire")

LOOK_S = 1.0
"""Time between two readings."""

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The last valid contents of files that others may be writing. For one thread at a time.

    A change counts once two readings in a row agree on it, so that what is half written changes nothing.

    Args:
        read: Reads the files. Raises ConfigError.
        clock: Monotonic clock, in seconds.

    Attributes:
        value: The contents in force.

    Raises:
        ConfigError: The files cannot be read at the first time.
    """

    def __init__(self, read: Callable[[], Value], clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock = read, clock
        self.value = self._seen = read()
        self._next_s = clock() + LOOK_S
        self._said = False

    def look(self) -> bool:
        """Read the files, if it is time to; return whether their contents have changed."""
        if self._clock() < self._next_s:
            return False
        self._next_s = self._clock() + LOOK_S
        try:
            seen = self._read()
        except ConfigError as error:
            if not self._said:
                log.warning("%s What it said before stays in force.", error)
            self._said, self._seen = True, self.value
            return False
        self._said = False
        agreed, self._seen = seen == self._seen, seen
        if not agreed or seen == self.value:
            return False
        self.value = seen
        return True
