"""Synthetic input: something that detectors of speech take for a voice, made of numbers alone."""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

RATE: Final = 16_000
BYTES_PER_MS: Final = 32
# Formants in Hz of a, i, e, o, u (Peterson and Barney 1952, men).
VOWELS: Final = ((730, 1090, 2440), (270, 2290, 3010), (530, 1840, 2480), (570, 840, 2410), (300, 870, 2240))
# People speak four to five syllables a second.
SYLLABLE_S: Final = 0.2
# A formant changes from one vowel to the next within this.
GLIDE: Final = RATE // 20
PITCH_HZ: Final = 120.0
HARMONICS: Final = 30
LEVEL: Final = 12_000


def silence(seconds: float) -> bytes:
    """Return silence (16 kHz mono s16le)."""
    return bytes(2 * int(RATE * seconds))


@cache
def voice(seconds: float, seed: int = 1) -> bytes:
    """Return a babble of vowels (16 kHz mono s16le): harmonics of a gliding pitch, formants, syllables, some breath.

    Silero gives it a probability above 0.9 from its third window on. The same *seed* gives the same
    samples. Made once, which takes some 80 ms a second.
    """
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(RATE * seconds)) / RATE
    pitch = PITCH_HZ + 15 * np.sin(2 * np.pi * 0.7 * time_s) + 8 * np.sin(2 * np.pi * 2.3 * time_s)
    phase = np.cumsum(pitch) / RATE
    formants = _formants(time_s, seed)
    mixed = np.zeros(len(time_s))
    for number in range(1, HARMONICS + 1):
        gain = np.zeros(len(time_s))
        for place, (centre, weight) in enumerate(zip(formants, (1.0, 0.6, 0.3), strict=True)):
            gain += weight / (1 + ((pitch * number - centre) / (60 + 40 * place)) ** 2)
        mixed += gain / np.sqrt(number) * np.sin(2 * np.pi * number * phase)
    mixed *= 0.55 - 0.45 * np.cos(2 * np.pi * time_s / SYLLABLE_S)
    mixed += rng.normal(0, 0.01, len(time_s))
    return bytes((LEVEL * mixed / max(np.abs(mixed).max(), 1e-9)).astype("<i2").tobytes())


def _formants(time_s: NDArray[np.float64], seed: int) -> list[NDArray[np.float64]]:
    syllable = (time_s / SYLLABLE_S).astype(int) + seed
    smooth = np.ones(GLIDE) / GLIDE
    found = []
    for place in range(3):
        steps = np.array([VOWELS[number % len(VOWELS)][place] for number in syllable], float)
        found.append(np.convolve(np.pad(steps, GLIDE // 2, "edge"), smooth, "same")[GLIDE // 2 :][: len(steps)])
    return found
