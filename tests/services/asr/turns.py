"""Turns as a VAD would send them, for the tests of this service."""

import math
import wave
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bus.frames import Header
from proto.v1 import speech_pb2 as pb
from tests.support.bus import FakeGateway

SAMPLE_RATE = 16_000
CHUNK_BYTES = 1024  # 32 ms, what a VAD window is


def tone(hertz: float, seconds: float = 0.5, level: int = 8000) -> bytes:
    """Return a sine."""
    return sines([hertz], seconds, level)


def sines(hertz: Iterable[float], seconds: float = 0.5, level: int = 8000) -> bytes:
    """Return several sines at once."""
    times = np.arange(int(SAMPLE_RATE * seconds)) / SAMPLE_RATE
    mixed = np.sum([np.sin(2 * math.pi * each * times) for each in hertz], axis=0)
    return bytes((level * mixed).astype("<i2").tobytes())


def recording(path: Path) -> bytes:
    """Return the samples of a 16 kHz mono recording."""
    with wave.open(str(path)) as file:
        return bytes(file.readframes(file.getnframes()))


class Speaker:
    """Says one turn of one session to the service at *address*."""

    def __init__(
        self, gateway: FakeGateway, address: str, session_id: str = "s1", turn_id: int = 1, at_sample: int = 0
    ) -> None:
        self.header = Header(session_id=session_id, turn_id=turn_id)
        self.at_sample = at_sample
        self._gateway = gateway
        self._address = address
        self._begun = False

    def say(
        self,
        pcm: bytes = b"",
        *,
        last: bool = False,
        partials: bool = False,
        language: str = "",
        step: int = CHUNK_BYTES,
    ) -> None:
        """Send *pcm* in pieces of *step* bytes; end the turn with them if they are the *last*."""
        for begin in range(0, max(len(pcm), 1), step):
            self.send(
                pcm[begin : begin + step],
                self.at_sample,
                last=last and begin + step >= len(pcm),
                recognition=None if self._begun else pb.Recognition(partials=partials, language=language),
            )
            self._begun = True
            self.at_sample += len(pcm[begin : begin + step]) // 2

    def send(
        self, pcm: bytes, at_sample: int, *, last: bool = False, recognition: pb.Recognition | None = None
    ) -> None:
        """Send one Speech frame."""
        speech = pb.Speech(pcm=pcm, at_sample=at_sample, last=last, recognition=recognition)
        self._gateway.send(self._address, self.header, speech=speech)

    def cancel(self) -> None:
        """Cancel the turn as gateways do: what of it is on its way still is of an older generation, and passed over."""
        header = Header(
            session_id=self.header.session_id, turn_id=self.header.turn_id, generation=self.header.generation + 1
        )
        self._gateway.send(self._address, header, cancel=pb.Cancel())
