"""A memo of what a function computed for each input, shared by all of its readers."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

Compute = Callable[[NDArray[np.float32]], NDArray[Any]]
"""``(N, *input.shape)`` to ``(N, ...)``, each row by its own input alone."""

MOST_BYTES = 1 << 28
"""Bytes of answers that are kept for attacks that average, which ask for the same inputs many times in a row."""


class Releases:
    """The answers of a function, kept by input.

    Where the function repeats itself, an input has one answer. Where it does not (a random defense), the n-th answer to
    an input is the same for every reader that asks for it n times: readers share the work, and each still sees as many
    independent releases as it asks for.

    Args:
        compute: The function.
        repeats: Whether it gives the same answer to the same input each time.
        most_bytes: Size of the answers that are kept; the least recently used ones go first.
    """

    def __init__(self, compute: Compute, *, repeats: bool, most_bytes: float = inf) -> None:
        self._compute, self._repeats, self._most_bytes = compute, repeats, most_bytes
        self._answers: OrderedDict[tuple[bytes, int], NDArray[Any]] = OrderedDict()
        self._n_bytes = 0

    def reader(self) -> Compute:
        """The function, for one reader, which has asked for nothing yet."""
        asked: Counter[bytes] = Counter()

        def answer(batch: NDArray[np.float32]) -> NDArray[Any]:
            keys = []
            for sample in batch:
                digest = hashlib.blake2b(sample.tobytes(), digest_size=16).digest()
                keys.append((digest, asked[digest]))
                asked[digest] += not self._repeats
            missing = [row for row, key in enumerate(keys) if key not in self._answers]
            if missing:
                computed = self._compute(batch if len(missing) == len(batch) else batch[missing])
                new = {keys[row]: release for row, release in zip(missing, computed, strict=True)}
                self._answers |= new
                self._n_bytes += sum(release.nbytes for release in new.values())
            answers = np.stack([self._answers[key] for key in keys])
            for key in keys:
                self._answers.move_to_end(key)
            while self._n_bytes > self._most_bytes and len(self._answers) > 1:
                self._n_bytes -= self._answers.popitem(last=False)[1].nbytes
            return answers

        return answer
