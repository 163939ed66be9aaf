"""Any server with OpenAI's `/audio/speech`: hosted, Kokoro-FastAPI, Speaches, LocalAI.

The audio is asked for as raw pcm and passed on as it comes; a WAV file of the same rate is understood, too. A clause
is asked for once. The connections live on an event loop on a thread of its own: closing the generator closes the
clause's at once, and while the server is silent the generator yields nothing (`b""`) so that it can be closed.
"""

import asyncio
import threading
from collections.abc import Coroutine, Generator
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from pydantic import Field

from bus.errors import EngineError
from services.tts.engine import chosen_language, chosen_speed, chosen_voice
from services.tts.samples import Samples
from services.upstream import Server, Upstream, connect

REQUIREMENTS: Final = "services/tts/requirements/openai.txt"
# How long the server may be silent until whoever reads gets to decide whether to go on: a cancel waits no longer.
LOOK_S: Final = 0.05
# Pieces between the connection and the reader. When they are full the connection is not read, and the server waits.
PIECES: Final = 32
# 40 ms at 24 kHz: what is said of a clause while it is made stays in small pieces, however much comes at once.
PIECE_BYTES: Final = 1920
# What these are called is never pcm.
REFUSED_TYPES: Final = ("text/", "application/json", "audio/mpeg", "audio/mp3", "audio/ogg", "audio/opus", "audio/flac")

T = TypeVar("T")


class Settings(Upstream):
    """What the openai engine can be told."""

    model: str = Field("gpt-4o-mini-tts", description="model to ask")
    voice: str = Field("alloy", description="voice where a request names none")
    voices: str = Field("", description="comma-separated voices to announce and to allow; empty: any is tried")
    language: str = Field("en", description="BCP 47: what is spoken; told to nobody, the text tells the server")
    instructions: str = Field("", description="how to speak, for models that understand it")
    pcm_rate: int = Field(24_000, ge=8000, le=48_000, description="sample rate in Hz of the server's pcm")
    first_audio_timeout_s: float = Field(15.0, gt=0, description="seconds until the first audio must have come")
    audio_timeout_s: float = Field(5.0, gt=0, description="seconds until the next audio must have come")


class Engine:
    """Has clauses spoken by a server."""

    threads = 16  # they wait

    def __init__(self, settings: Settings) -> None:
        self.sample_rate = settings.pcm_rate
        self.voices = [voice.strip() for voice in settings.voices.split(",") if voice.strip()]
        self.languages: list[str] = []
        self.language = settings.language
        self._settings = settings
        self._server: Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def load(self) -> None:
        """Look whether the server answers; it need not.

        Raises:
            ConfigurationError: the key cannot be read, or httpx2 is missing.
        """
        self._server = connect(self._settings, REQUIREMENTS)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=_run, args=(self._loop,), name="tts-openai", daemon=True).start()
        self._on_loop(self._server.probe()).result()

    def synthesize(self, text: str, voice: str, language: str, speed: float) -> Generator[bytes, None, None]:
        """Yield pcm as the server sends it, cut into pieces of at most 40 ms; `b""` while it is silent.

        Raises:
            InvalidRequestError: no such voice or speed, or the server calls the request impossible.
            EngineError: the server refuses the key, cannot be reached, is late, fails, breaks off or sends no pcm.
        """
        chosen_language(language, self.languages)
        body: dict[str, Any] = {
            "model": self._settings.model,
            "input": text,
            "voice": chosen_voice(voice, self.voices, self._settings.voice),
            "response_format": "pcm",
        }
        if (speed := chosen_speed(speed)) != 1.0:  # not every model knows it
            body["speed"] = speed
        if self._settings.instructions:
            body["instructions"] = self._settings.instructions
        return self._pulled(body) if any(map(str.isalnum, text)) else _nothing()

    def stop(self) -> None:
        """Close all connections, end the thread. For tests: the process ends without."""
        if self._loop is not None and self._server is not None:
            self._on_loop(self._server.close()).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _pulled(self, body: dict[str, Any]) -> Generator[bytes, None, None]:
        pieces: Pieces = asyncio.Queue(PIECES)
        reading = self._on_loop(self._read(body, pieces))
        try:
            while (piece := self._on_loop(_next(pieces)).result()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            reading.cancel()

    async def _read(self, body: dict[str, Any], pieces: "Pieces") -> None:
        """Put the clause's audio into *pieces*, then None, or the error that it ended with."""
        end: Exception | None = None
        try:
            await self._pass_on(body, pieces)
        except TimeoutError:
            end = EngineError("the upstream server sent no audio in time")
        except Exception as error:  # noqa: BLE001 - raised by the reader
            end = error
        await pieces.put(end)

    async def _pass_on(self, body: dict[str, Any], pieces: "Pieces") -> None:
        if self._server is None:
            raise EngineError("the engine is not loaded")
        samples = Samples(self.sample_rate)
        heard = False
        deadline = asyncio.get_running_loop().time() + self._settings.first_audio_timeout_s
        async with asyncio.timeout_at(deadline) as limit, self._server.asked("audio/speech", json=body) as response:
            kind = response.headers.get("content-type", "").lower()
            if kind.startswith(REFUSED_TYPES):
                raise EngineError("the upstream server sent something else than pcm")
            async for received in response.aiter_bytes():
                limit.reschedule(None)  # a reader that is slow is not the server's fault
                pcm = samples.push(received)
                for at in range(0, len(pcm), PIECE_BYTES):
                    heard = True
                    await pieces.put(pcm[at : at + PIECE_BYTES])
                limit.reschedule(asyncio.get_running_loop().time() + self._settings.audio_timeout_s)
        if not heard:
            raise EngineError("the upstream server sent no audio")

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        if self._loop is None:
            work.close()
            raise EngineError("the engine is not loaded")
        return asyncio.run_coroutine_threadsafe(work, self._loop)


Pieces = asyncio.Queue[bytes | Exception | None]


async def _next(pieces: Pieces) -> bytes | Exception | None:
    try:
        async with asyncio.timeout(LOOK_S):
            return await pieces.get()
    except TimeoutError:
        return b""


def _nothing() -> Generator[bytes, None, None]:
    yield from ()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
