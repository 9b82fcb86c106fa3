"""Synthesized speech: what a spectrogram shows of a sound that is known."""

import numpy as np
import pytest

from cutlayer.data.load import load
from cutlayer.data.speech import BANDS, FRAMES, HOP, RATE_HZ, SAMPLES, WORDS, spectrogram, spoken, voice
from cutlayer.data.tones import utterances


def tone(hz, first=0):
    time = np.arange(SAMPLES)
    return (np.sin(2 * np.pi * hz / RATE_HZ * time) * (time >= first)).astype(np.float32)[None]


def test_a_higher_tone_lies_higher_and_time_runs_along_the_rows():
    rows = [int(spectrogram(tone(hz))[0, 0].mean(1).argmax()) for hz in (200, 400, 800, 1600, 3200)]
    assert rows == sorted(rows, reverse=True)
    assert len(set(rows)) == len(rows)
    late = spectrogram(tone(1000, first=SAMPLES // 2))[0, 0].max(0)
    assert late.shape == (FRAMES,)
    assert (late[: FRAMES // 2 - 1] == 0).all()
    assert (late[FRAMES // 2 :] > 0.9).all()


def test_the_loudest_place_is_1_however_loud_the_sound_is():
    loud, low = (spectrogram(factor * tone(500)) for factor in (1.0, 0.01))
    assert loud.max() == low.max() == 1
    np.testing.assert_allclose(loud, low, atol=1 / 255)
    assert loud.shape == (1, 1, BANDS, FRAMES)


def test_the_harmonics_of_a_voice_are_multiples_of_its_pitch():
    low = voice(1)._replace(pitch_hz=100.0, breath=0.0)
    sound = spoken("one", low, np.random.default_rng(0))
    strength = np.abs(np.fft.rfft(sound[SAMPLES // 3 :][:2048] * np.hanning(2048)))
    loudest = np.argmax(strength[5:]) + 5
    assert loudest * RATE_HZ / 2048 % 100 == pytest.approx(0, abs=25) or loudest * RATE_HZ / 2048 % 100 > 75


def test_each_speaker_says_each_digit_in_a_voice_of_their_own():
    sounds = {(word, who): spoken(word, voice(who), np.random.default_rng(0)) for word in WORDS for who in range(3)}
    assert len({sound.tobytes() for sound in sounds.values()}) == len(WORDS) * 3
    assert all(np.abs(sound).max() == 1 for sound in sounds.values())
    assert voice(5) == voice(5)
    assert HOP * FRAMES == SAMPLES


def test_no_speaker_of_the_attacker_is_a_victim():
    digits, voices = load("tones"), load("voices")
    speakers = [set(part.groups.tolist()) for part in digits.parts.values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 40
    attackers, victims = (set(part.labels.tolist()) for part in (voices.auxiliary, voices.private))
    assert not attackers & victims
    assert victims == set(voices.train.labels.tolist()) == set(voices.test.labels.tolist())


def test_a_digit_and_a_speaker_are_where_the_labels_say():
    digits, voices = load("tones"), load("voices")
    for image, label, speaker in zip(digits.test.inputs, digits.test.labels, digits.test.groups, strict=True):
        assert any(np.array_equal(image, take) for take in utterances(40, 4)[speaker, label])
    for image, label in zip(voices.test.inputs[:20], voices.test.labels, strict=False):
        assert any(np.array_equal(image, take) for take in utterances(20, 8)[label].reshape(-1, 1, BANDS, FRAMES))
