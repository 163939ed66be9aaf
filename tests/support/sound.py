"""Audio that tests speak and hear: tones that stand for words."""

import numpy as np

RATE = 16_000


def tone(hz: float, seconds: float, amplitude: float = 8000) -> bytes:
    """Return a sine (16 kHz s16le)."""
    time_s = np.arange(int(RATE * seconds)) / RATE
    return bytes((amplitude * np.sin(2 * np.pi * hz * time_s)).astype("<i2").tobytes())


def silence(seconds: float) -> bytes:
    """Return silence (16 kHz s16le)."""
    return bytes(2 * int(RATE * seconds))


def dominant_hz(pcm: bytes) -> float:
    """Return the strongest frequency of *pcm* (16 kHz s16le), to within 2 Hz or the length allows."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float64)
    size = max(len(samples), RATE // 2)
    spectrum = np.abs(np.fft.rfft(samples, size))
    return float(np.argmax(spectrum) * RATE / size)


def loudness(pcm: bytes) -> float:
    """Return the root mean square of *pcm* (s16le), 0 to 32768."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float64)
    return float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0
