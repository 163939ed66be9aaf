"""A tone instead of speech: known durations, known frequencies, latencies as set. For tests and simulations."""

import itertools
import random
import re
import time
import zlib
from collections.abc import Generator
from functools import lru_cache
from typing import Final

import numpy as np
from pydantic import BaseModel, Field

from bus.errors import EngineError
from bus.latency import Latency, LatencyText
from services.tts.engine import chosen_language, chosen_speed, chosen_voice

AMPLITUDE: Final = 8000
PIECE_MS: Final = 40
# Tones that come from a text's hash lie between these, in Hz: heard by any recogniser of tones at 8 kHz.
LOWEST_HZ: Final = 300
HIGHEST_HZ: Final = 1500
CANARY: Final = re.compile(r"\btone (\d{2,4})\b", re.IGNORECASE)


class Settings(BaseModel):
    """What the engine can be told."""

    ms_per_character: float = Field(60.0, gt=0, le=10_000, description="audio for each character of the spoken text")
    tone_hz: int = Field(0, ge=0, le=4000, description="frequency of every tone; 0: told by the text")
    tone_rate: int = Field(16000, ge=8000, le=48000, description="sample rate of the engine")
    latency: LatencyText = Field(
        "0", description="seconds until the first audio: 0.2, uniform:0.1,0.3 or lognormal:0.2,0.5"
    )
    real_time_factor: float = Field(0.0, ge=0, le=10, description="seconds needed for each second of audio")
    fail_every: int = Field(0, ge=0, description="every so many clauses fail; 0: never")
    seed: int = Field(1, description="seed of the random latencies")


class Engine:
    """Plays one tone for each text: `tone 440` in the text is 440 Hz, other texts have a frequency of their own."""

    threads = 64  # they sleep
    language = "en"

    def __init__(self, settings: Settings) -> None:
        self.sample_rate = settings.tone_rate
        self.voices = ["tone"]
        self.languages: list[str] = []
        self._settings = settings
        self._latency = Latency.parse(settings.latency)
        self._random = random.Random(settings.seed)
        self._calls = itertools.count(1)

    def load(self) -> None:
        """Be ready."""

    def synthesize(self, text: str, voice: str, language: str, speed: float) -> Generator[bytes, None, None]:
        """Yield the tone of *text*, 40 ms at a time.

        Raises:
            InvalidRequestError: no such voice or speed.
            EngineError: as `fail_every` says, after the first piece.
        """
        chosen_voice(voice, self.voices)
        chosen_language(language, self.languages)
        duration_s = len(text) * self._settings.ms_per_character / 1000 / chosen_speed(speed)
        fails = self._settings.fail_every > 0 and next(self._calls) % self._settings.fail_every == 0
        return self._tone(self.frequency_of(text), round(duration_s * self.sample_rate), fails=fails)

    def frequency_of(self, text: str) -> int:
        """Return the frequency in Hz that *text* is played at."""
        if self._settings.tone_hz:
            return self._settings.tone_hz
        if canary := CANARY.search(text):
            return int(canary[1])
        return LOWEST_HZ + zlib.crc32(text.encode()) % (HIGHEST_HZ - LOWEST_HZ)

    def _tone(self, frequency_hz: int, samples: int, *, fails: bool) -> Generator[bytes, None, None]:
        time.sleep(self._latency.draw(self._random))
        waves = _waves(frequency_hz, self.sample_rate)
        piece = self.sample_rate * PIECE_MS // 1000
        for start in range(0, samples, piece):
            length = min(piece, samples - start)
            if self._settings.real_time_factor:
                time.sleep(length / self.sample_rate * self._settings.real_time_factor)
            begin = start % self.sample_rate
            yield waves[2 * begin : 2 * (begin + length)]
            if fails:
                raise EngineError("told to fail")


@lru_cache(maxsize=128)
def _waves(frequency_hz: int, sample_rate: int) -> bytes:
    """Return two seconds of a tone, s16le: a second of it is whole periods, so that any piece is found there."""
    at = np.arange(2 * sample_rate)
    wave: bytes = (AMPLITUDE * np.sin(2 * np.pi * frequency_hz / sample_rate * at)).astype("<i2").tobytes()
    return wave
