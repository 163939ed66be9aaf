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
    encoders: dict[str, Callable[[bytes], bytes]] = {"realtime": _append, "websocket": _binary, "socket": bytes}
    encode = encoders[protocol]
    rate = REALTIME_RATE if protocol == "realtime" else SAMPLE_RATE
    size = chunk_ms * rate // 1000 * 2
    made = []
    for phrase in phrases:
        pcm = phrase.pcm
        if rate != SAMPLE_RATE:
            samples = soxr.resample(np.frombuffer(pcm, "<i2"), SAMPLE_RATE, rate)
            pcm = samples.astype("<i2").tobytes()
        made.append([encode(pcm[at : at + size].ljust(size, b"\0")) for at in range(0, len(pcm), size)])
    return Script(made, encode(b"\0" * size), chunk_ms)


def _append(pcm: bytes) -> bytes:
    return frame(TEXT, b'{"type":"input_audio_buffer.append","audio":"' + b64encode(pcm) + b'"}')


def _binary(pcm: bytes) -> bytes:
    return frame(BINARY, pcm)
