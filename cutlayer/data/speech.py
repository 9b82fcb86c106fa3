"""Spoken digits, synthesized: the sound of a voice with its formants, and what a recognizer takes of it.

A voice is a sum of harmonics of its pitch, weighted by the resonances of a vocal tract, and bands of noise for the
consonants, as in D. Klatt, "Software for a cascade/parallel formant synthesizer", JASA 67(3), 1980. The formants of the
vowels are those of men in G. Peterson and H. Barney, "Control methods used in a study of the vowels", JASA 24(2), 1952;
those of the other sounds are chosen by ear. It stands for speech where no recording comes with a package; it is simpler
than speech: each speaker says a digit in one way, and there is no room, no microphone and no other sound.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RATE_HZ, SAMPLES = 8000, 4096
"""Samples of a second, and of an utterance of 0.512 s."""
HOP, WINDOW = 128, 256
"""Samples from frame to frame of a spectrogram, and in one frame."""
FRAMES, BANDS = SAMPLES // HOP, 32
LOWEST_HZ, HIGHEST_HZ = 100.0, 3900.0
RANGE_DB = 60.0
"""What a spectrogram shows: from the loudest place down to so much less."""
NOISE_HZ = ((800.0, 1800.0), (1800.0, 2800.0), (2800.0, 3900.0))


class Sound(NamedTuple):
    """One sound of a word.

    Attributes:
        formants: Resonances in Hz.
        voice: Amplitude of the voice.
        noise: Amplitude of the noise in each of `NOISE_HZ`.
        length: Its share of the word, in relation to the others.
    """

    formants: tuple[float, float, float]
    voice: float = 1.0
    noise: tuple[float, float, float] = (0.0, 0.0, 0.0)
    length: float = 1.0


SOUNDS = {
    "iy": Sound((270, 2290, 3010)),
    "ih": Sound((390, 1990, 2550)),
    "eh": Sound((530, 1840, 2480)),
    "ah": Sound((640, 1190, 2390)),
    "a": Sound((730, 1090, 2440)),
    "ao": Sound((570, 840, 2410)),
    "ow": Sound((480, 900, 2350)),
    "uw": Sound((300, 870, 2240)),
    "r": Sound((490, 1350, 1690), 0.7, length=0.7),
    "w": Sound((290, 610, 2150), 0.6, length=0.6),
    "n": Sound((250, 1400, 2400), 0.35, length=0.8),
    "v": Sound((250, 1100, 2300), 0.25, (0.02, 0.03, 0.04), 0.6),
    "z": Sound((280, 1600, 2500), 0.2, (0.01, 0.05, 0.3), 0.8),
    "f": Sound((300, 1100, 2300), 0.0, (0.04, 0.05, 0.06)),
    "th": Sound((300, 1400, 2500), 0.0, (0.03, 0.05, 0.05), 0.9),
    "s": Sound((300, 1700, 2600), 0.0, (0.01, 0.08, 0.4)),
    "stop": Sound((300, 1700, 2600), 0.0, length=0.5),
    "t": Sound((300, 1700, 2600), 0.0, (0.1, 0.2, 0.35), 0.25),
    "k": Sound((300, 1700, 2300), 0.0, (0.15, 0.3, 0.1), 0.25),
}
WORDS = {
    "zero": "z ih r ow",
    "one": "w ah n",
    "two": "t uw uw",
    "three": "th r iy",
    "four": "f ao r",
    "five": "f a iy v",
    "six": "s ih stop k s",
    "seven": "s eh v ah n",
    "eight": "eh iy stop t",
    "nine": "n a iy n",
}


class Voice(NamedTuple):
    """What is a speaker's own.

    Attributes:
        pitch_hz: The mean frequency of the vocal folds.
        tract: Factor of all formants: more for a shorter vocal tract.
        tilt: How much the voice loses from one harmonic to the next, as a power of their number.
        breath: Amplitude of the noise in the voice.
        pace: Factor of the length of a word.
    """

    pitch_hz: float
    tract: float
    tilt: float
    breath: float
    pace: float


def voice(speaker: int) -> Voice:
    """The voice of a speaker, from the number alone: higher voices have shorter tracts, with exceptions."""
    random = np.random.default_rng([1952, speaker])
    height = random.random()
    return Voice(
        pitch_hz=90 * 2.7 ** (height + random.normal(0, 0.06)),
        tract=0.9 + 0.25 * height + random.normal(0, 0.05),
        tilt=random.uniform(0.6, 1.4),
        breath=10 ** random.uniform(-3, -1.7),
        pace=random.uniform(0.75, 1.0),
    )


def spoken(word: str, speaker: Voice, random: np.random.Generator) -> NDArray[np.float32]:
    """One utterance of a word of `WORDS`: ``(SAMPLES,)``, the greatest sample 1 in size; each draw differs a little."""
    sounds = [SOUNDS[name] for name in WORDS[word].split()]
    lengths = np.array([sound.length for sound in sounds]) * random.uniform(0.85, 1.15, len(sounds))
    length = 0.85 * SAMPLES * speaker.pace * random.uniform(0.9, 1.0)
    edges = np.concatenate([[0.0], np.cumsum(lengths / lengths.sum() * length)])
    edges += random.uniform(0.02 * SAMPLES, max(0.03 * SAMPLES, SAMPLES - length - 0.05 * SAMPLES))
    widths = np.diff(edges)
    frames = np.arange(FRAMES + 1) * HOP
    # Each sound is held from a quarter to three quarters of its time, and glides into the next.
    places = np.stack([edges[:-1] + widths / 4, edges[1:] - widths / 4], 1).ravel()

    def track(values: list[float], *, silent: bool) -> NDArray[np.float64]:
        held = [value for value in values for _ in range(2)]
        at = [edges[0], *places, edges[-1]] if silent else places
        heard: NDArray[np.float64] = np.interp(frames, at, [0.0, *held, 0.0] if silent else held)
        return heard

    shift = speaker.tract * random.normal(1, 0.01, 3)
    formants = [track([sound.formants[i] * shift[i] for sound in sounds], silent=False) for i in range(3)]
    voiced = track([sound.voice for sound in sounds], silent=True)
    pitch = speaker.pitch_hz * random.normal(1, 0.02) * np.linspace(random.uniform(1.0, 1.12), 0.95, SAMPLES)
    phase = 2 * np.pi * (np.cumsum(pitch) / RATE_HZ % 1)
    numbers = np.arange(1, int(HIGHEST_HZ / pitch.max()) + 1)
    heard = _resonance(numbers[:, None] * pitch[np.minimum(frames, SAMPLES - 1)], formants)
    heard *= voiced * numbers[:, None] ** -speaker.tilt
    waves = np.sin((phase.reshape(FRAMES, HOP, 1) * numbers).astype(np.float32))
    sound = _between(waves @ np.stack([heard.T[:-1], heard.T[1:]], 2).astype(np.float32))
    sound /= max(np.abs(sound).max(), 1e-9)
    hiss = np.fft.rfft(random.standard_normal(SAMPLES))
    for band, (low, high) in enumerate(NOISE_HZ):
        gain = track([sound.noise[band] + speaker.breath * sound.voice for sound in sounds], silent=True)
        band_bins = slice(round(low / RATE_HZ * SAMPLES), round(high / RATE_HZ * SAMPLES))
        banded = np.zeros_like(hiss)
        banded[band_bins] = hiss[band_bins]
        sound += np.fft.irfft(banded) * _between(np.stack([gain[:-1], gain[1:]], 1)[:, None])
    sound += 10 ** random.uniform(-3, -2.2) * random.standard_normal(SAMPLES)
    scaled: NDArray[np.float32] = (sound / np.abs(sound).max()).astype(np.float32)
    return scaled


def spectrogram(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(N, SAMPLES)`` to ``(N, 1, BANDS, FRAMES)`` in [0, 1]: the loudness of each band, the lowest in the last row.

    1 is the loudest place of the utterance, 0 is `RANGE_DB` below it or less. Bands are evenly spaced on the mel scale;
    values are multiples of 1/255.
    """
    padded = np.pad(sound, ((0, 0), (0, WINDOW - HOP)))
    framed = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=1)[:, ::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(framed, axis=2)) ** 2 @ _MEL
    loudness = 10 * np.log10(power + 1e-12)
    loudness -= loudness.max(axis=(1, 2), keepdims=True)
    seen = (np.rint((loudness / RANGE_DB + 1).clip(0, 1) * 255) / 255).astype(np.float32)
    return np.ascontiguousarray(seen.transpose(0, 2, 1)[:, None, ::-1])


def _resonance(frequencies: NDArray[np.float64], formants: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """How much a vocal tract with these formants lets through of each frequency, both in Hz."""
    passed = np.ones_like(frequencies)
    for formant in formants:
        ratio, width = frequencies / formant, (60 + 0.04 * formant) / formant
        passed /= np.sqrt((1 - ratio**2) ** 2 + (ratio * width) ** 2)
    return passed


def _mel_bands() -> NDArray[np.float64]:
    """``(WINDOW // 2 + 1, BANDS)``: triangles over the frequencies of a frame."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (LOWEST_HZ, HIGHEST_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    tones = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)[:, None]
    # No triangle is narrower than the distance of two frequencies, so that each band has one.
    widths = np.maximum(np.diff(edges), RATE_HZ / WINDOW)
    rising = (tones - edges[1:-1]) / widths[:-1] + 1
    falling = (edges[1:-1] - tones) / widths[1:] + 1
    return np.minimum(rising, falling).clip(0, 1)


def _between(ends: NDArray[Any]) -> NDArray[np.float64]:
    """Samples between frames, ``(SAMPLES,)``, of values at the begin and the end of each, ``(FRAMES, HOP or 1, 2)``."""
    later = np.arange(HOP) / HOP
    samples: NDArray[np.float64] = (ends * np.stack([1 - later, later], 1)).sum(2).ravel()
    return samples


_MEL = _mel_bands()
