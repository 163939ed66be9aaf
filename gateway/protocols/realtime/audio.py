"""Audio as Realtime clients send it, G.711 or pcm at their rate, to the 16 kHz pcm of the services; and G.711 back."""

from functools import cache
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from gateway.core.realtime.config import AudioFormat

Samples = npt.NDArray[np.int16]
Law = Literal["pcmu", "pcma"]

SERVICE_RATE: Final = 16_000
SAMPLES: Final = np.dtype("<i2")
# 24000 is OpenAI's; the others are ours. Each is a small ratio to 16000.
PCM_RATES: Final = (8_000, 16_000, 24_000, 32_000, 48_000)

# Half the length of the filter. Stream resamplers made for quality hold back 20 to 120 ms (soxr's LQ to HQ, measured),
# which every turn would wait for; 1 ms a side leaves a transition band of 1.8 kHz around the lower Nyquist frequency.
HALF_MS: Final = 1
KAISER_BETA: Final = 5.65  # 60 dB in the stop band
FRACTION_BITS: Final = 15
# Periods computed together where there are so many; one by one they cost three times as much.
GROUP: Final = 8


def from_wire(raw: bytes, form: AudioFormat) -> Samples:
    """Return the samples of *raw* (whole samples) at the rate of *form*."""
    if form.encoding == "pcm":
        return np.frombuffer(raw, "<i2")
    return _expanding(form.encoding)[np.frombuffer(raw, np.uint8)]


def to_wire(pcm: bytes, form: AudioFormat) -> bytes:
    """Return s16le *pcm*, already at the rate of *form*, in the encoding of *form*."""
    if form.encoding == "pcm":
        return pcm
    codes: bytes = _compressing(form.encoding)[np.frombuffer(pcm, "<u2")].tobytes()
    return codes


class Resampler:
    """Turns the audio of one session, of one format, into 16 kHz s16le.

    What comes out depends on what went in, not on how it was cut: the filter's sums are exact. It lags by `HALF_MS`,
    and holds back less than one period of the two rates (3 samples at 24 kHz). Other rates than `PCM_RATES` work if
    their ratio to 16000 is small.
    """

    def __init__(self, form: AudioFormat) -> None:
        self.form = form
        divisor = int(np.gcd(form.rate, SERVICE_RATE))
        self._up, self._down = SERVICE_RATE // divisor, form.rate // divisor
        self._weights = _weights(self._up, self._down, form.rate)
        self._grouped = _grouped(self._up, self._down, form.rate)
        self._width = len(self._weights)
        self._held = bytes((self._width - self._down) * SAMPLES.itemsize)

    def push(self, raw: bytes) -> bytes:
        """Return the 16 kHz audio that *raw* (whole samples) completes."""
        pcm = raw if self.form.encoding == "pcm" else from_wire(raw, self.form).tobytes()
        if self._up == self._down:
            return pcm
        line = self._held + pcm
        periods = max(0, (len(line) // SAMPLES.itemsize - self._width) // self._down + 1)
        self._held = line[periods * self._down * SAMPLES.itemsize :]
        groups, single = divmod(periods, GROUP)
        made = _outputs(line, 0, groups, self._down * GROUP, self._grouped) if groups else b""
        if single:
            made += _outputs(line, groups * GROUP * self._down, single, self._down, self._weights)
        return made


def _outputs(line: bytes, first: int, rows: int, step: int, weights: npt.NDArray[np.float64]) -> bytes:
    """Return the outputs of *rows* windows of *line*, from the sample *first* on, each *step* behind the one before."""
    size = SAMPLES.itemsize
    windows = np.ndarray((rows, len(weights)), SAMPLES, line, first * size, (step * size, size))
    sums = windows.astype(np.float64) @ weights
    np.rint(sums, out=sums)
    np.minimum(sums, 32767, out=sums)  # np.clip takes three times as long
    np.maximum(sums, -32768, out=sums)
    made: bytes = sums.astype(SAMPLES).tobytes()
    return made


@cache
def _grouped(up: int, down: int, rate: int) -> npt.NDArray[np.float64]:
    """Return the filter of `GROUP` periods: windows overlap less, so an eighth of the memory is written for them."""
    one = _weights(up, down, rate)
    grouped = np.zeros((len(one) + (GROUP - 1) * down, GROUP * up))
    for period in range(GROUP):
        grouped[period * down : period * down + len(one), period * up : (period + 1) * up] = one
    return grouped


@cache
def _weights(up: int, down: int, rate: int) -> npt.NDArray[np.float64]:
    """Return the filter as a matrix: a window of input samples times it is one period of *up* output samples.

    The weights are multiples of 2^-15, so that sums of 16-bit samples are exact and their order does not matter.
    """
    half = HALF_MS * rate // 1000
    width = 2 * half + down
    cutoff = min(1.0, up / down)
    # Distance, in input samples, of every sample of the window from every output sample, which lies *half* behind it.
    distance = np.arange(width)[:, None] - half - np.arange(up)[None, :] * down / up
    inside = np.clip(1 - (distance / half) ** 2, 0, None)
    window = np.where(np.abs(distance) <= half, np.i0(KAISER_BETA * np.sqrt(inside)) / np.i0(KAISER_BETA), 0)
    weights = np.sinc(distance * cutoff) * window
    weights /= weights.sum(axis=0)
    rounded: npt.NDArray[np.float64] = np.rint(weights * 2**FRACTION_BITS) / 2**FRACTION_BITS
    return rounded


# -- G.711, by the rules of ITU-T G.191 --------------------------------------------------------------------------------


@cache
def _expanding(law: Law) -> npt.NDArray[Any]:
    """Return the sample of each of the 256 codes."""
    code = np.arange(256)
    if law == "pcmu":
        code = ~code & 0xFF
        exponent, mantissa = code >> 4 & 7, code & 0xF
        size = ((mantissa << 3) + 0x84 << exponent) - 0x84
        return np.where(code & 0x80, -size, size).astype("<i2")
    code ^= 0x55
    exponent, mantissa = code >> 4 & 7, code & 0xF
    size = np.where(exponent, (mantissa << 4) + 0x108 << np.maximum(exponent - 1, 0), (mantissa << 4) + 8)
    return np.where(code & 0x80, size, -size).astype("<i2")


@cache
def _compressing(law: Law) -> npt.NDArray[Any]:
    """Return the code of each of the 65536 samples, by their bits."""
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    if law == "pcmu":  # 14 bits
        size = np.minimum(np.abs(sample >> 2), 8158) + 33
        exponent = _bits(size >> 6)
        code = exponent << 4 | size >> exponent + 1 & 0xF
        codes: npt.NDArray[Any] = np.where(sample < 0, code ^ 0x7F, code ^ 0xFF).astype(np.uint8)
        return codes
    sample >>= 3  # 13 bits
    size = np.where(sample < 0, ~sample, sample)
    exponent = _bits(size >> 5)
    code = exponent << 4 | size >> np.maximum(exponent, 1) & 0xF
    alaw: npt.NDArray[Any] = np.where(sample < 0, code ^ 0x55, code ^ 0xD5).astype(np.uint8)
    return alaw


def _bits(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return how many bits each of *value* needs."""
    bits: npt.NDArray[Any] = np.ceil(np.log2(value + 1.0)).astype(np.int32)
    return bits
