"""Bytes from a server as whole samples: raw pcm, or a WAV file that is read while it comes.

Servers that are asked for pcm and know only WAV send that. Its sizes are not believed: who streams does not know them.
"""

import struct
from typing import Final

from bus.errors import EngineError

# Other chunks may stand before the samples; not many.
HEADER_BYTES: Final = 64 * 1024
# Plain, and "extensible" with the same samples.
PCM_FORMATS: Final = (1, 0xFFFE)
# What a compressed answer begins with. Not MP3's bare frames: their two bytes may as well be a sample.
COMPRESSED: Final = (b"ID3", b"OggS", b"fLaC")


class Samples:
    """Signed 16-bit little-endian mono at *sample_rate* Hz out of what is pushed. Holds at most a WAV file's header."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._held = b""
        self._header = True  # the beginning is still to be looked at

    def push(self, received: bytes) -> bytes:
        """Take what came; return the whole samples.

        Raises:
            EngineError: a file of another format, or a WAV file with other samples.
        """
        held = self._held + received
        if self._header:
            if len(held) < 4:  # noqa: PLR2004 - as long as the marks that files begin with
                self._held = held
                return b""
            if held.startswith(COMPRESSED):
                raise EngineError("the upstream server sent a compressed file instead of pcm")
            if held.startswith(b"RIFF"):
                begin = self._samples_at(held)
                if not begin:
                    self._held = held
                    return b""
                held = held[begin:]
            self._header = False
        whole = len(held) // 2 * 2
        self._held = held[whole:]
        return held[:whole]

    def _samples_at(self, file: bytes) -> int:
        """Return where the samples of the WAV *file* begin; 0: not here yet."""
        if len(file) > HEADER_BYTES:
            raise EngineError("the upstream server sent a WAV file without samples")
        at = 12
        while at + 8 <= len(file):
            name, size = struct.unpack_from("<4sI", file, at)
            at += 8
            if name == b"data":
                return at
            if name == b"fmt ":
                if at + 16 > len(file):
                    return 0
                self._check(*struct.unpack_from("<HHIIHH", file, at))
            at += size + size % 2
        return 0

    def _check(self, kind: int, channels: int, rate: int, _bytes_s: int, _block: int, bits: int) -> None:
        if kind not in PCM_FORMATS or channels != 1 or bits != 16:  # noqa: PLR2004
            raise EngineError("the upstream server sent a WAV file that is not 16-bit mono pcm")
        if rate != self._rate:
            raise EngineError(f"the upstream server speaks at {rate} Hz: set --pcm_rate {rate}")
