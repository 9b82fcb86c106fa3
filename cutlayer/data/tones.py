"""Spectrograms of synthesized spoken digits, images with one channel. Needs no download.

The sound is made here, see `cutlayer.data.speech`. A spectrogram has time along its rows, 16 ms a pixel, and frequency
along its columns, high above.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.people import from_people
from cutlayer.data.speech import WORDS, spectrogram, spoken, voice
from cutlayer.data.splits import Dataset, Splits

TAKES = 4
"""How often each speaker says each digit, where the class is the digit."""
PARTS = (20, 10, 5, 5)
"""Speakers of train, auxiliary, private and test there."""
VOICES, VOICE_TAKES = 20, 8
"""Speakers, and how often each says each digit, where the class is the speaker."""


def load_digits(root: Path | None, seed: int) -> Splits:
    """Spectrograms of spoken digits, 32x32 grey; no speaker in two parts: 800 train, 400 auxiliary, 200, 200.

    `root` is not used.
    """
    rng = np.random.default_rng(seed)
    inputs, n = utterances(sum(PARTS), TAKES), len(WORDS)
    parts = []
    for speakers in np.split(rng.permutation(sum(PARTS)), np.cumsum(PARTS)[:-1]):
        own = inputs[speakers].swapaxes(1, 2).reshape(-1, *inputs.shape[3:])
        labels = np.tile(np.arange(n), len(own) // n)
        data = Dataset(own, labels, groups=np.repeat(speakers, TAKES * n))
        parts.append(data.at(rng.permutation(len(own))))
    return Splits("tones", tuple(WORDS), *parts)


def load_voices(root: Path | None, seed: int) -> Splits:
    """Spectrograms of spoken digits whose class is the speaker, 20 speakers, of whom 10 are the attacker's.

    `root` is not used.
    """
    each = utterances(VOICES, VOICE_TAKES)
    people = {f"speaker {i}": own.reshape(-1, *each.shape[3:]) for i, own in enumerate(each, start=1)}
    return from_people("voices", people, seed)


@cache
def utterances(speakers: int, takes: int) -> NDArray[np.float32]:
    """``(speakers, digits, takes, 1, 32, 32)``; equal on each machine but for rounding."""
    sounds = []
    for speaker in range(speakers):
        own, random = voice(speaker), np.random.default_rng([1980, speaker])
        sounds += [spoken(word, own, random) for word in WORDS for _ in range(takes)]
    seen = spectrogram(np.stack(sounds))
    return seen.reshape(speakers, len(WORDS), takes, *seen.shape[1:])
