"""Log-mel features of 8 s as Whisper's feature extractor makes them, in numpy: transformers takes seconds to import.

The recipe is that of `transformers.WhisperFeatureExtractor(chunk_length=8)` called with `do_normalize=True`, on audio
that was filled up with zeros at its START, which is how smart-turn v3 was trained. A test compares the two.
"""

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from services.vad.end_of_turn.model import LONGEST, SAMPLE_RATE
from services.vad.engine import Floats

MELS: Final = 80
FFT: Final = 400  # 25 ms
HOP: Final = 160  # 10 ms
FRAMES: Final = LONGEST // HOP
# The logarithm's floor, and how far (in powers of ten) below the loudest anything is cut off.
FLOOR: Final = 1e-10
RANGE: Final = 8.0
# Against division by zero, where all is silence.
EPSILON: Final = 1e-7

Doubles = npt.NDArray[np.float64]


def log_mel(samples: Floats) -> Floats:
    """Return the features, float32 [80, 800], of the last 8 s of *samples* (-1..1, 16 kHz), zeros before them."""
    samples = samples[-LONGEST:]
    padded = np.zeros(LONGEST, np.float32)
    padded[LONGEST - len(samples) :] = samples
    padded = (padded - padded.mean()) / np.sqrt(padded.var() + EPSILON)
    # Frames are centred on multiples of the hop, so the ends are mirrored. The last frame is not used.
    mirrored = np.pad(padded.astype(np.float64), FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(mirrored, FFT)[: FRAMES * HOP : HOP]
    power = np.square(np.abs(np.fft.rfft(frames * _hann())))
    logarithms = np.log10(np.maximum(_filters() @ power.T, FLOOR))
    cut = np.maximum(logarithms, logarithms.max() - RANGE)
    result: Floats = ((cut + 4.0) / 4.0).astype(np.float32)
    return result


@cache
def _hann() -> Doubles:
    return np.hanning(FFT + 1)[:-1]  # periodic


@cache
def _filters() -> Doubles:
    """Return Slaney's triangular filters of equal area, [80, 201], from 0 Hz to half the sample rate."""
    top = SAMPLE_RATE / 2
    corners = _hertz(np.linspace(0.0, float(_mel(top)), MELS + 2))
    bins = np.linspace(0.0, top, FFT // 2 + 1)
    low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    filters: Doubles = np.maximum(triangles, 0.0) * 2.0 / (high - low)
    return filters


# Slaney's scale: linear up to 1000 Hz (15 mel), then 27 mel for every factor of 6.4.
_KNEE_HZ: Final = 1000.0
_KNEE_MEL: Final = 15.0
_MEL_PER_E: Final = 27.0 / np.log(6.4)


def _mel(hertz: float) -> float:
    return float(_KNEE_MEL + np.log(hertz / _KNEE_HZ) * _MEL_PER_E) if hertz > _KNEE_HZ else hertz * 0.015


def _hertz(mels: Doubles) -> Doubles:
    above = _KNEE_HZ * np.exp((mels - _KNEE_MEL) / _MEL_PER_E)
    result: Doubles = np.where(mels > _KNEE_MEL, above, mels / 0.015)
    return result
