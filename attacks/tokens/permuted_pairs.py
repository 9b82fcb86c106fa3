"""The control: an attack that learns from pairs that do not belong together.

It asks for what arrives for one sentence and is given what arrives for another of the same length. So it can learn
which words are frequent, and nothing else; what it reads beyond that is a fault of the attack or of the measurement.
Labels that are permuted are the usual control of a probe: J. Hewitt, P. Liang, "Designing and interpreting probes with
control tasks", EMNLP 2019.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutlayer.attacks.view import Query, View
from cutlayer.attacks.wrapping import Wrapping
from cutlayer.errors import ConfigError
from cutlayer.sequences import PAD, lengths

LEARNING = ("token-ridge", "token-decoder", "nearest-activation")
"""Attacks that learn from pairs, and from nothing else."""


@dataclass(kw_only=True)
class PermutedPairs(Wrapping):
    """Run an attack on sentences that has learned from what arrived for other sentences.

    Args:
        attack: Name of the attack.
        options: Its options; None for its defaults.
    """

    plain_words = "learns from sentences and numbers that do not belong together: a control that must read nothing"
    rebuilds = ("tokens",)
    is_floor = True

    attack: str = "token-ridge"

    def __post_init__(self) -> None:
        if self.attack not in LEARNING:
            raise ConfigError(f"permuted-pairs.attack must be one of {', '.join(LEARNING)}, not {self.attack!r:.80}.")
        super().__post_init__()

    def fit(self, view: View) -> None:
        """Fit the other attack to pairs that do not belong together."""
        self._inner.fit(view.with_query(_of_others(view)))

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, T, width)`` -> ids ``(N, T)``."""
        return self._inner.invert(smashed)


def _of_others(view: View) -> Query:
    """An oracle that answers for another sentence of the same length, the same one each time."""
    own = view.auxiliary.inputs
    by_length: dict[int, list[int]] = defaultdict(list)
    for i, length in enumerate(lengths(own)):
        by_length[int(length)].append(i)
    query = view.query

    def other(sentence: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        drawn = int.from_bytes(
            hashlib.blake2b(sentence.tobytes(), digest_size=8, key=bytes([view.seed % 256])).digest()
        )
        known = [i for i in by_length.get(length, ()) if not np.array_equal(own[i], sentence)]
        if known:
            chosen: NDArray[np.int64] = own[known[drawn % len(known)]]
            return chosen
        # No other has this length: tokens of the attacker's sentences, one after the other.
        tokens = own[own != PAD]
        at = np.random.default_rng(drawn).integers(0, len(tokens), length)
        return np.concatenate([tokens[at], np.full(len(sentence) - length, PAD)])

    def answer(ids: Tensor) -> Tensor:
        asked = ids.cpu().numpy()
        changed = np.stack([other(row, int(n)) for row, n in zip(asked, lengths(asked), strict=True)])
        return query(torch.from_numpy(changed).to(ids.device))

    return answer
