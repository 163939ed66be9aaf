"""What clients send, made once for all of them before anything is sent."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import soxr

from launcher.client import SAMPLE_RATE
from launcher.load.clients.wire import BINARY, TEXT, frame
from launcher.load.schedule import Visit
from launcher.load.speech import Phrase

REALTIME_RATE: Final = 24_000
TELEPHONE_RATE: Final = 8_000
# ITU-T G.711 in 16 bits: what is added before the logarithm, and the largest size that then has one.
BIAS: Final = 0x84
CLIP: Final = 32_635


@dataclass(frozen=True)
class Script:
    """What is sent, made once for all clients: each phrase in chunks, and a chunk of silence."""

    phrases: Sequence[Sequence[bytes]]
    silence: bytes
    chunk_ms: int

    def chunk(self, visit: Visit, number: int) -> bytes:
        """Return what the client of *visit* sends as chunk *number*."""
        at_ms = number * self.chunk_ms
        for turn in visit.turns:
            if turn.at_ms > at_ms:
                break
            place = (at_ms - turn.at_ms) // self.chunk_ms
            phrase = self.phrases[turn.phrase]
            if place < len(phrase):
                return phrase[place]
        return self.silence


def script(protocol: str, phrases: Sequence[Phrase], chunk_ms: int) -> Script:
    """Return what clients of *protocol* send."""
    encoders: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
        "realtime": (REALTIME_RATE, _append),
        "realtime-pcmu": (TELEPHONE_RATE, lambda pcm: _append(_pcmu(pcm))),
        "websocket": (SAMPLE_RATE, _binary),
        "socket": (SAMPLE_RATE, bytes),
    }
    rate, encode = encoders[protocol]
    size = chunk_ms * rate // 1000 * 2
    made = []
    for phrase in phrases:
        pcm = phrase.pcm
        if rate != SAMPLE_RATE:
            samples = soxr.resample(np.frombuffer(pcm, "<i2"), SAMPLE_RATE, rate)
            pcm = samples.astype("<i2").tobytes()
        made.append([encode(pcm[at : at + size].ljust(size, b"\0")) for at in range(0, len(pcm), size)])
    return Script(made, encode(b"\0" * size), chunk_ms)


def _append(audio: bytes) -> bytes:
    return frame(TEXT, b'{"type":"input_audio_buffer.append","audio":"' + b64encode(audio) + b'"}')


def _binary(pcm: bytes) -> bytes:
    return frame(BINARY, pcm)


def _pcmu(pcm: bytes) -> bytes:
    """Return s16le samples as G.711 codes: the logarithm of the size in 7 bits, inverted, and the sign."""
    samples = np.frombuffer(pcm, "<i2").astype(np.int32)
    size = np.minimum(np.abs(samples), CLIP) + BIAS
    exponent = np.floor(np.log2(size)).astype(np.int32) - 7
    code = exponent << 4 | size >> exponent + 3 & 0xF
    return bytes(np.where(samples < 0, code ^ 0x7F, code ^ 0xFF).astype(np.uint8).tobytes())
