"""What happens to pcm between an engine and a frame: silence trimmed, pauses, resampling, pieces of one length.

All pcm is signed 16-bit little-endian mono.
"""

from typing import Any, Final

import numpy as np
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.int16]

# -42 dB of full scale: above the noise that flite's voices make when silent (196 at most, measured on rms).
SILENT: Final = 256
# What is kept of the silence around a clause: soft onsets and endings are below `SILENT`.
LEAD_MS: Final = 20
TAIL_MS: Final = 30


class Trim:
    """Cuts the silence around a clause: flite begins with 190 ms and ends with 80 to 200 ms of it (measured).

    Silence inside a clause stays. It is held back until sound follows; the hold is bounded by the clause.
    """

    def __init__(self, sample_rate: int) -> None:
        self._lead = sample_rate * LEAD_MS // 1000
        self._tail = sample_rate * TAIL_MS // 1000
        self._held: list[Samples] = []
        self._sounding = False

    def push(self, samples: Samples) -> Samples:
        """Take samples; return those that are sure to be wanted."""
        loud = np.flatnonzero((samples > SILENT) | (samples < -SILENT))
        if not len(loud):
            self._held.append(samples)
            return samples[:0]
        held = np.concatenate([*self._held, samples])
        before = len(held) - len(samples)
        begin = 0 if self._sounding else max(0, before + int(loud[0]) - self._lead)
        end = before + int(loud[-1]) + 1
        self._sounding = True
        self._held = [held[end:]]
        return held[begin:end]

    def end(self) -> Samples:
        """Return the clause's last samples and be ready for the next clause."""
        rest = np.concatenate([np.zeros(0, np.int16), *self._held])
        tail = rest[: self._tail] if self._sounding else rest[:0]
        self._held, self._sounding = [], False
        return tail


class Sound:
    """The sound of one response, from the engine's rate to the pieces that frames carry.

    The resampler keeps its state within a clause, and is drained at its end, where there is silence: no sample waits
    for the next clause, and no seam clicks.
    """

    def __init__(self, engine_rate: int, sample_rate: int, piece_ms: int) -> None:
        self._rate = sample_rate
        self._trim = Trim(engine_rate)
        self._resampler: Any = None
        if engine_rate != sample_rate:
            self._resampler = soxr.ResampleStream(engine_rate, sample_rate, 1, dtype="int16")
        self._piece_bytes = 2 * (sample_rate * piece_ms // 1000)
        self._piece = bytearray()

    def pause(self, pause_ms: int) -> list[bytes]:
        """Return pieces of silence, to go between two clauses."""
        silence = bytes(2 * (self._rate * pause_ms // 1000))
        return [silence[at : at + self._piece_bytes] for at in range(0, len(silence), self._piece_bytes)]

    def push(self, pcm: bytes) -> list[bytes]:
        """Take what the engine made; return the pieces that are full."""
        samples = self._trim.push(np.frombuffer(pcm, "<i2"))
        return self._cut(self._resampled(samples, last=False)) if len(samples) else []

    def end(self) -> list[bytes]:
        """Return the rest of the clause; its last piece may be shorter than the others."""
        return [*self._cut(self._resampled(self._trim.end(), last=True)), *self._rest()]

    def _resampled(self, samples: Samples, *, last: bool) -> bytes:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
            if last:
                self._resampler.clear()
        return samples.tobytes()

    def _cut(self, pcm: bytes) -> list[bytes]:
        self._piece += pcm
        full = len(self._piece) // self._piece_bytes * self._piece_bytes
        pieces = [bytes(self._piece[at : at + self._piece_bytes]) for at in range(0, full, self._piece_bytes)]
        del self._piece[:full]
        return pieces

    def _rest(self) -> list[bytes]:
        rest, self._piece = bytes(self._piece), bytearray()
        return [rest] if rest else []
