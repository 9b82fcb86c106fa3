"""Spectrograms of synthesized spoken digits, images with one channel. Needs no download.

The sound is made here, see `cutlayer.data.speech`: 40 speakers, each of whom says each of ten digits four times. A
spectrogram has time along its rows, 16 ms a pixel, and frequency down its columns, high above.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.people import from_people
from cutlayer.data.speech import WORDS, spectrogram, spoken, voice
from cutlayer.data.splits import Dataset, Splits

SPEAKERS, TAKES = 40, 4
"""Speakers, and how often each says each digit."""
PARTS = (20, 10, 5, 5)
"""Speakers of train, auxiliary, private and test of the digits."""


def load_digits(root: Path | None, seed: int) -> Splits:
    """Spectrograms of spoken digits, 32x32 grey; no speaker in two parts: 800 train, 400 auxiliary, 200, 200.

    `root` is not used.
    """
    rng = np.random.default_rng(seed)
    inputs, n = utterances(), len(WORDS)
    parts = []
    for speakers in np.split(rng.permutation(SPEAKERS), np.cumsum(PARTS)[:-1]):
        own = inputs[speakers].swapaxes(1, 2).reshape(-1, *inputs.shape[3:])
        labels = np.tile(np.arange(n), len(own) // n)
        data = Dataset(own, labels, groups=np.repeat(speakers, TAKES * n))
        parts.append(data.at(rng.permutation(len(own))))
    return Splits("tones", tuple(WORDS), *parts)


def load_voices(root: Path | None, seed: int) -> Splits:
    """The same spectrograms, whose class is the speaker; half of the speakers are the attacker's, with all they say.

    `root` is not used.
    """
    each = utterances()
    people = {f"speaker {i}": each[i].reshape(-1, *each.shape[3:]) for i in range(SPEAKERS)}
    return from_people("voices", people, seed)


@cache
def utterances() -> NDArray[np.float32]:
    """``(SPEAKERS, digits, TAKES, 1, 32, 32)``; equal on each machine but for rounding."""
    sounds = []
    for speaker in range(SPEAKERS):
        own, random = voice(speaker), np.random.default_rng([1980, speaker])
        sounds += [spoken(word, own, random) for word in WORDS for _ in range(TAKES)]
    seen = spectrogram(np.stack(sounds))
    return seen.reshape(SPEAKERS, len(WORDS), TAKES, *seen.shape[1:])
