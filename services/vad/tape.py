"""The audio of one session that is still needed, by position."""

import numpy as np

from services.vad.engine import Floats

SAMPLE_BYTES = 2


class Tape:
    """16-bit mono pcm without gaps; positions are samples from 0, the first sample ever put on it.

    It does not bound itself: its owner refuses to append beyond a limit and forgets what is used.
    """

    def __init__(self) -> None:
        self._pcm = bytearray()
        self.start = 0
        self.end = 0

    def append(self, pcm: bytes | memoryview) -> None:
        """Put whole samples at the end."""
        self._pcm += pcm
        self.end += len(pcm) // SAMPLE_BYTES

    def cut(self, start: int, end: int) -> bytes:
        """Return the pcm of [*start*, *end*), which must still be there."""
        if not self.start <= start <= end <= self.end:
            raise IndexError(f"[{start}, {end}) of [{self.start}, {self.end})")
        return bytes(self._pcm[(start - self.start) * SAMPLE_BYTES : (end - self.start) * SAMPLE_BYTES])

    def read(self, start: int, window: Floats) -> None:
        """Fill *window* with the samples from *start* on, still in 16-bit units."""
        offset = (start - self.start) * SAMPLE_BYTES
        window[:] = np.frombuffer(self._pcm, "<i2", len(window), offset)

    def forget_before(self, position: int) -> None:
        """Drop what stands before *position*."""
        if position > self.start:  # the end of the list moves, not its content: cheap
            del self._pcm[: (position - self.start) * SAMPLE_BYTES]
            self.start = position
