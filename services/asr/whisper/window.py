"""Cuts the audio of a turn into what Whisper hears at a time: at most 30 s."""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE: Final = 16_000
SAMPLE_BYTES: Final = 2
# The encoder's positions end here (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022).
LONGEST_S: Final = 30
LONGEST: Final = LONGEST_S * SAMPLE_RATE
# A longer turn is cut where it is quietest in so much of the window's end, rather than in the middle of a word.
SEARCH: Final = 3 * SAMPLE_RATE
# Loudness is measured over 20 ms: shorter than a sound of speech, longer than a period of the deepest voice.
GRAIN: Final = SAMPLE_RATE // 50
# A mel frame; two make one position of the encoder.
FRAMES_PER_S: Final = 100

Samples: TypeAlias = NDArray[np.float32]
"""16 kHz mono, -1..1."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What is decoded at a time."""

    samples: Samples
    frames: int
    """How many mel frames the encoder gets; what the audio does not fill is silence."""
    context: tuple[int, ...] = ()
    """Tokens of the prompt and the hot words."""
    language: str = ""
    """Whisper's code; empty: to be detected."""
    final: bool = True
    end: int = 0
    """Where in the turn's audio it ends, in bytes."""

    @property
    def kind(self) -> tuple[int, int, bool]:
        """Windows of one kind can be decoded in one batch."""
        return self.frames, len(self.context), self.final


def samples_of(pcm: bytes | bytearray) -> Samples:
    """Return 16-bit little-endian *pcm* as floats (a copy)."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def cut(pcm: bytes | bytearray, begin: int) -> int:
    """Return the byte where the window that begins at byte *begin* ends: the end of *pcm*, or a quiet place before.

    The place depends only on the window's own 30 s, so it stays where it is when the turn grows.
    """
    end = begin + LONGEST * SAMPLE_BYTES
    if len(pcm) <= end:
        return len(pcm)
    searched = end - SEARCH * SAMPLE_BYTES
    loudness = _grains(samples_of(pcm[searched:end]))
    return searched + (int(loudness.argmin()) * GRAIN + GRAIN // 2) * SAMPLE_BYTES


def is_silent(samples: Samples, dbfs: float) -> bool:
    """Tell whether no 20 ms of *samples* are louder than *dbfs* (root mean square, 0: full scale)."""
    loudness = _grains(np.pad(samples, (0, -len(samples) % GRAIN)))
    return not loudness.size or bool(loudness.max() <= 10 ** (dbfs / 10))


def frames_for(samples: int, multiple_s: float) -> int:
    """Return how many mel frames *samples* of audio need, rounded up to a multiple of *multiple_s*; an even number."""
    multiple = round(multiple_s * FRAMES_PER_S)
    needed = -(-samples * FRAMES_PER_S // SAMPLE_RATE)
    frames = max(-(-needed // multiple), 1) * multiple
    return min(frames + frames % 2, LONGEST_S * FRAMES_PER_S)


def _grains(samples: Samples) -> Samples:
    """Return the mean square of each whole 20 ms."""
    whole = samples[: len(samples) // GRAIN * GRAIN].reshape(-1, GRAIN)
    squares: Samples = np.square(whole).mean(axis=1)
    return squares
