"""What tests of stock clients share: how the suite answers, tones in the formats that clients send, events in order."""

import asyncio
import base64
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from openai import AsyncOpenAI, OpenAI

from launcher.bench.suite import Suite
from tests.support.bus import PATIENCE_S

DOCS: Final = Path(__file__).parents[3] / "docs" / "realtime.md"

# A tone stands for an utterance: it is heard as "tone 440" and answered by a voice of 440 Hz. Speaking an answer takes
# a third of its length: long ones can be interrupted, short ones keep nobody waiting. A declared `look_up` is called.
SCRIPT: Final = {
    "asr": ["--canary"],
    "llm": ["--call_tool", "look_up", "--call_arguments", '{"city": "Paris"}'],
    "tts": ["--ms_per_character", "30", "--real_time_factor", "0.3"],
}
# Fifteen seconds of answer.
LONG: Final = "tone 600 " + "and so on " * 50

PCM_RATE: Final = 24_000
G711_RATE: Final = 8_000
MU: Final = 255.0
A: Final = 87.6


class Connection(Protocol):
    """A connection of either dialect."""

    async def recv(self) -> Any:
        """Return the next event."""
        ...


def beside(suite: Suite) -> dict[str, str]:
    """Return the settings of a client of *suite* that works in either dialect."""
    port = suite.ws_port
    return {"base_url": f"http://127.0.0.1:{port}/v1", "websocket_base_url": f"ws://127.0.0.1:{port}/v1"}


def sync_client(suite: Suite, key: str = "not-needed") -> OpenAI:
    """Return a client of *suite* that blocks."""
    return OpenAI(api_key=key, max_retries=0, **beside(suite))  # type: ignore[arg-type]


def async_client(suite: Suite, key: str = "not-needed") -> AsyncOpenAI:
    """Return a client of *suite* for asyncio."""
    return AsyncOpenAI(api_key=key, max_retries=0, **beside(suite))  # type: ignore[arg-type]


def example(*marks: str) -> str:
    """Return the first Python example of the documentation that all *marks* stand in."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return next(block for block in blocks if all(mark in block for mark in marks))


def wave(hz: float, seconds: float, rate: int = PCM_RATE) -> NDArray[np.float64]:
    """Return a tone and then silence enough to end a turn, as samples from -1 to 1."""
    sounding = 0.25 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)
    return np.concatenate([sounding, np.zeros(int(rate * 0.8))])


def pcm16(samples: NDArray[np.float64]) -> bytes:
    """Return *samples* as 16-bit little-endian integers."""
    return bytes((samples * 32767).astype("<i2").tobytes())


def from_pcm16(coded: bytes) -> NDArray[np.float64]:
    """Return the samples of *coded*."""
    return np.frombuffer(coded, "<i2") / 32768


def ulaw(samples: NDArray[np.float64]) -> bytes:
    """Return *samples* by the smooth law that G.711 draws with straight lines: within a step or two of it."""
    steps = np.round(127 * np.log1p(MU * np.abs(samples)) / np.log1p(MU)).astype(np.uint8)
    return bytes((~(steps | np.where(samples < 0, 0x80, 0).astype(np.uint8))).astype(np.uint8).tobytes())


def from_ulaw(coded: bytes) -> NDArray[np.float64]:
    """Undo `ulaw`."""
    bits = ~np.frombuffer(coded, np.uint8)
    sizes = np.expm1((bits & 0x7F) / 127 * np.log1p(MU)) / MU
    return np.asarray(np.where(bits & 0x80, -sizes, sizes), np.float64)


def alaw(samples: NDArray[np.float64]) -> bytes:
    """Return *samples* by the smooth law of A-law."""
    sizes = np.abs(samples)
    curved = np.where(sizes < 1 / A, A * sizes, 1 + np.log(np.maximum(A * sizes, 1.0))) / (1 + np.log(A))
    steps = np.round(127 * curved).astype(np.uint8)
    return bytes(((steps | np.where(samples < 0, 0, 0x80).astype(np.uint8)) ^ 0x55).astype(np.uint8).tobytes())


def from_alaw(coded: bytes) -> NDArray[np.float64]:
    """Undo `alaw`."""
    bits = np.frombuffer(coded, np.uint8) ^ 0x55
    curved = (bits & 0x7F) / 127 * (1 + np.log(A))
    sizes = np.where(curved < 1, curved, np.exp(curved - 1)) / A
    return np.asarray(np.where(bits & 0x80, sizes, -sizes), np.float64)


def spoken(hz: float, seconds: float = 0.6) -> str:
    """Return an utterance and the silence after it, as one append carries it (24 kHz pcm)."""
    return base64.b64encode(pcm16(wave(hz, seconds))).decode()


def loudest_hz(samples: NDArray[np.float64], rate: int = PCM_RATE) -> int:
    """Return the strongest frequency, to the next 10 Hz."""
    size = max(len(samples), rate)
    return round(float(np.argmax(np.abs(np.fft.rfft(samples, size)))) * rate / size / 10) * 10


async def until(connection: Connection, last: str) -> list[Any]:
    """Return the events up to the first *last*."""
    told: list[Any] = []
    async with asyncio.timeout(PATIENCE_S):
        while not told or told[-1].type != last:
            told.append(await connection.recv())
    return told


def audio_of(told: Iterable[Any]) -> bytes:
    """Return the audio that *told* carries."""
    return b"".join(base64.b64decode(e.delta) for e in told if e.type.endswith("audio.delta"))


def kinds(told: Iterable[Any], *, without: str = "input_audio_transcription") -> list[str]:
    """Return the types in order, deltas of one kind as one, those with *without* left out: they come when they come."""
    names: list[str] = []
    for event in told:
        if without in event.type or (event.type.endswith(".delta") and event.type in names):
            continue
        names.append(event.type)
    return names


def one(told: Iterable[Any], kind: str) -> Any:
    """Return the only event of *kind*."""
    (event,) = (e for e in told if e.type == kind)
    return event
