"""Known transcripts after known times: for tests, load, and a suite that simulates itself.

With `--canary` the text says what was heard: `tone 440` for a tone of 440 Hz, `tone 440 880` for two mixed, nothing for
silence. Sessions that each hear a tone of their own then show whether any audio went astray.
"""

import asyncio
import random
from collections.abc import Callable
from itertools import count
from typing import Final

import numpy as np
from pydantic import BaseModel, Field

from bus.errors import EngineError
from bus.latency import Latency, LatencyText
from services.asr.engine import Abilities, Recognised, Request

SAMPLE_RATE: Final = 16_000
# People say about three words a second: so many bytes of audio for each word of a partial.
WORD_BYTES: Final = 2 * SAMPLE_RATE // 3
# A window of 256 ms tells tones 10 Hz apart, and names them to 10 Hz.
WINDOW: Final = 4096
STEP_HZ: Final = 10
# A tone counts if it has at least a tenth of the strongest one's power; its neighbourhood is the same tone.
SHARE: Final = 0.1
NEIGHBOURHOOD_HZ: Final = 40.0
MOST_TONES: Final = 4
# Quieter than this (of 32 768) is silence.
SILENCE_RMS: Final = 30.0


class Settings(BaseModel):
    """What the scripted engine can be told."""

    text: str = Field("this is what you said", description="the transcript of every turn")
    canary: bool = Field(False, description="say which tone was heard instead: `tone 440`")
    latency: LatencyText = Field("0", description="seconds from the last audio to the transcript, or a distribution")
    fail_every: int = Field(0, ge=0, description="fail each turn whose number this divides; 0: none")
    seed: int = Field(0, description="makes the drawn latencies the same in every run")


class Engine:
    """Answers every turn as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._latency = Latency.parse(settings.latency)
        self._rng = random.Random(settings.seed)
        self._turns = count(1)

    async def load(self) -> Abilities:
        """Nothing to load."""
        return Abilities(model="scripted", streaming=True)

    def stream(self, request: Request) -> "Turn":  # noqa: ARG002 - the script says it all
        """Begin a turn."""
        every = self._settings.fail_every
        fails = every > 0 and next(self._turns) % every == 0
        text = tones if self._settings.canary else self._fixed
        return Turn(text, self._latency.draw(self._rng), fails=fails)

    async def stop(self) -> None:
        """Nothing to stop."""

    def _fixed(self, pcm: bytes) -> str:
        return self._settings.text if pcm else ""


class Turn:
    """One turn. *text* says what is heard in its audio; *latency_s* passes before that is known."""

    def __init__(self, text: Callable[[bytes], str], latency_s: float, *, fails: bool) -> None:
        self._text = text
        self._latency_s = latency_s
        self._fails = fails
        self._heard = bytearray()

    async def accept(self, pcm: bytes) -> None:
        """Hear more."""
        self._heard += pcm

    async def partial(self) -> str:
        """Return as many words as can have been said by now."""
        words = self._text(bytes(self._heard)).split()
        return " ".join(words[: len(self._heard) // WORD_BYTES])

    async def finish(self) -> Recognised:
        """Return the text after the latency.

        Raises:
            EngineError: this turn is one that fails.
        """
        await asyncio.sleep(self._latency_s)
        if self._fails:
            raise EngineError("this turn fails, as the script says")
        text = self._text(bytes(self._heard))
        return Recognised(text, confidence=1.0 if text else 0.0)

    def cancel(self) -> None:
        """Forget what was heard."""
        self._heard.clear()


def tones(pcm: bytes) -> str:
    """Name the tones in *pcm* (16 kHz), lowest first: `tone 440 880`. Empty for silence."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float32)
    if not len(samples) or samples.std() < SILENCE_RMS:
        return ""
    samples -= samples.mean()  # an offset is no tone
    padded = np.pad(samples, (0, -len(samples) % WINDOW)).reshape(-1, WINDOW)
    power = np.square(np.abs(np.fft.rfft(padded * np.hanning(WINDOW)))).sum(axis=0)
    hertz = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    weakest = SHARE * power.max()
    found: list[int] = []
    while len(found) < MOST_TONES and power.max() > 0.0 and power.max() >= weakest:
        loudest = hertz[power.argmax()]
        found.append(round(float(loudest) / STEP_HZ) * STEP_HZ)
        power[np.abs(hertz - loudest) <= NEIGHBOURHOOD_HZ] = 0.0
    return " ".join(["tone", *map(str, sorted(found))]) if found else ""
