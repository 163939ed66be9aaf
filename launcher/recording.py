"""Recordings: any PCM WAV file to 16 kHz mono s16le and back, and a few things to know about one."""

import wave
from pathlib import Path
from typing import Final

from launcher.client import BYTES_PER_MS, SAMPLE_RATE
from launcher.errors import UsageError

# Louder than this (-40 dBFS, full scale is 32768) somewhere: there is something to hear.
AUDIBLE: Final = 328
# A block this much quieter than the loudest one (-30 dB) is not speech.
_QUIET: Final = 0.0316
_BLOCK_MS: Final = 20


def read(path: Path) -> bytes:
    """Return the recording at *path* as 16 kHz mono s16le.

    Raises:
        UsageError: there is none, or it is none.
    """
    try:
        with wave.open(str(path), "rb") as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            pcm = file.readframes(file.getnframes())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except (wave.Error, EOFError) as error:
        raise UsageError(
            f"{path}: not a PCM WAV file ({error or 'it ends too early'}); convert it with: "
            f"ffmpeg -i {path} -ar 16000 -ac 1 -c:a pcm_s16le {path.stem}-16k.wav"
        ) from error
    if not pcm:
        raise UsageError(f"{path}: holds no audio")
    return converted(pcm, rate, channels, width)


def converted(pcm: bytes, rate: int, channels: int = 1, width: int = 2) -> bytes:
    """Return interleaved little-endian *pcm* (*rate* in Hz, *width* in bytes a sample) as 16 kHz mono s16le."""
    if (rate, channels, width) == (SAMPLE_RATE, 1, 2):
        return pcm
    import numpy as np

    pcm = pcm[: len(pcm) // (channels * width) * channels * width]
    raw = np.frombuffer(pcm, np.uint8).reshape(-1, width)
    if width == 1:  # the only unsigned one
        samples = (raw[:, 0].astype(np.float32) - 128) / 128
    else:
        widened = np.zeros((len(raw), 4), np.uint8)
        widened[:, 4 - width :] = raw
        samples = widened.view("<i4")[:, 0].astype(np.float32) / (1 << 31)
    mono = samples.reshape(-1, channels).mean(axis=1)
    if rate != SAMPLE_RATE:
        import soxr

        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return bytes((mono * 32767).round().clip(-32768, 32767).astype("<i2").tobytes())


def write(path: Path, pcm: bytes) -> None:
    """Save 16 kHz mono s16le.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        with path.open("wb") as raw, wave.open(raw, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(pcm)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error


def audible(pcm: bytes) -> bool:
    """Tell whether there is anything to hear in 16 kHz mono s16le."""
    return _peak(pcm) >= AUDIBLE


def sounds_end_ms(pcm: bytes) -> list[float]:
    """Return where each 20 ms of sound in 16 kHz mono s16le ends, in order; nothing for silence."""
    size = _BLOCK_MS * BYTES_PER_MS
    peaks = [_peak(pcm[start : start + size]) for start in range(0, len(pcm), size)]
    floor = max(AUDIBLE, max(peaks, default=0) * _QUIET)
    return [(number + 1.0) * _BLOCK_MS for number, peak in enumerate(peaks) if peak >= floor]


def _peak(pcm: bytes) -> int:
    samples = memoryview(pcm[: len(pcm) // 2 * 2]).cast("h")
    return max(max(samples, default=0), -min(samples, default=0))
