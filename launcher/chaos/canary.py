"""Tones that tell whose words were heard and when: each session has its own, and takes another one each turn.

The scripted asr writes `tone 1450` for a tone of 1450 Hz, the scripted llm says it back, the scripted tts plays it. A
word or a piece of sound of another session, or of an earlier turn, is therefore recognised wherever it comes out.
"""

import re
from collections import Counter
from typing import Final

import numpy as np

# Four digits each, so that all answers have the same length. The scripted asr tells tones 50 Hz apart, names them to
# 10 Hz, and 20 ms hold whole periods of each.
LOWEST_HZ: Final = 1000
HIGHEST_HZ: Final = 3950
STEP_HZ: Final = 50
TONES: Final = tuple(range(LOWEST_HZ, HIGHEST_HZ + 1, STEP_HZ))
# Turns until a session's first tone comes again.
PER_SESSION: Final = 3
# What the scripted llm says; every clause of it names the tone.
REPLY: Final = "{text}, {text} again, and {text} at last."
RATE: Final = 16_000
AMPLITUDE: Final = 8000
BLOCK_S: Final = 0.02
# Quieter than this (of 32 768) is silence.
SILENCE_RMS: Final = 300.0
# A block is padded with silence to this: the bins of its spectrum are 16 Hz wide.
PADDED_S: Final = 0.064
NAMED: Final = re.compile(r"\d{4}")


def tones_of(place: int, sessions: int) -> tuple[int, ...]:
    """Return the tones in Hz of the session at *place* of so many *sessions*: its neighbours' lie between them.

    Raises:
        ValueError: there are more sessions than tones.
    """
    each = min(PER_SESSION, len(TONES) // sessions)
    if not each:
        raise ValueError(f"tones for {len(TONES)} sessions at most")
    return TONES[place : each * sessions : sessions]


def tone(hertz: int, seconds: float, rate: int = RATE) -> bytes:
    """Return a tone as mono s16le."""
    at = np.arange(round(rate * seconds))
    return bytes((AMPLITUDE * np.sin(2 * np.pi * hertz / rate * at)).astype("<i2").tobytes())


def named_in(text: str) -> set[int]:
    """Return the tones that *text* names."""
    return {int(number) for number in NAMED.findall(text)}


def heard_in(pcm: bytes, rate: int) -> Counter[int]:
    """Return how many blocks of 20 ms of *pcm* (mono s16le) hold which tone, by the nearest of `TONES`."""
    size = round(rate * BLOCK_S)
    samples = np.frombuffer(pcm[: len(pcm) // (2 * size) * 2 * size], "<i2").astype(np.float32).reshape(-1, size)
    samples = samples[np.sqrt(np.square(samples).mean(axis=1)) > SILENCE_RMS]
    if not len(samples):
        return Counter()
    padded = round(rate * PADDED_S)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(size), padded, axis=1))
    hertz = spectrum.argmax(axis=1) * rate / padded
    nearest = np.round(hertz / STEP_HZ).astype(int) * STEP_HZ
    return Counter(nearest.tolist())
