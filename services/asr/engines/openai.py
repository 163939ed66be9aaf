"""Any server with OpenAI's `/audio/transcriptions`: hosted, Speaches, LocalAI, vLLM, whisper.cpp.

The turn is collected and sent as a WAV file when it has ended: there are no partials. It is sent once; cancelling
closes the connection.
"""

import asyncio
import io
import wave
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bus.errors import EngineError
from services.asr.engine import Abilities, Recognised, Request
from services.upstream import Server, Upstream, connect, whole

REQUIREMENTS: Final = "services/asr/requirements/openai.txt"
SAMPLE_RATE: Final = 16_000
# OpenAI refuses less than a tenth of a second; recognisers are bad at so little anyway.
SHORTEST_BYTES: Final = 2 * SAMPLE_RATE // 2
# No sample louder than this (of 32 768): digital silence, in which Whisper hears people say "Thank you".
SILENT: Final = 8


class Settings(Upstream):
    """What the openai engine can be told."""

    model: str = Field("whisper-1", description="model to ask where a request names none")
    language: str = Field("", description="BCP 47, where a request names none; empty: the server finds out")
    prompt: str = Field("", description="words to expect, where a request names none")
    answer_timeout_s: float = Field(30.0, gt=0, description="seconds until the transcript must have come")


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    text: str


class Engine:
    """Has turns recognised by a server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._server: Server | None = None

    async def load(self) -> Abilities:
        """Look whether the server answers; it need not.

        Raises:
            ConfigurationError: the key cannot be read, or httpx2 is missing.
        """
        self._server = connect(self._settings, REQUIREMENTS)
        await self._server.probe()
        return Abilities(model=self._settings.model)

    def stream(self, request: Request) -> "Turn":
        """Begin a turn.

        Raises:
            EngineError: the engine is not loaded.
        """
        if self._server is None:
            raise EngineError("the engine is not loaded")
        told = self._settings
        form = {"model": request.model or told.model, "response_format": "json"}
        # They want ISO 639: en, not en-US.
        if language := (request.language or told.language).partition("-")[0].lower():
            form["language"] = language
        if prompt := request.prompt or told.prompt:
            form["prompt"] = prompt
        return Turn(self._server, form, told.answer_timeout_s)

    async def stop(self) -> None:
        """Close all connections."""
        if self._server is not None:
            await self._server.close()


class Turn:
    """One turn. Its audio, which the service bounds to five minutes, is held until it has ended."""

    def __init__(self, server: Server, form: dict[str, str], timeout_s: float) -> None:
        self._server = server
        self._form = form
        self._timeout_s = timeout_s
        self._heard = bytearray()
        self._asking: asyncio.Task[str] | None = None

    async def accept(self, pcm: bytes) -> None:
        """Keep the audio."""
        self._heard += pcm

    async def partial(self) -> str:
        """Return nothing: the server hears whole turns."""
        return ""

    async def finish(self) -> Recognised:
        """Send the turn; return what the server understood.

        Raises:
            InvalidRequestError: the server calls the request impossible.
            EngineError: the server refuses the key, cannot be reached, is late, fails or sends garbage; or the turn
                was cancelled.
        """
        pcm, self._heard = bytes(self._heard), bytearray()
        if not np.any(np.abs(np.frombuffer(pcm, "<i2").astype(np.int32)) > SILENT):
            return Recognised("")
        self._asking = asyncio.create_task(self._ask(_wav(pcm)))
        try:
            return Recognised((await self._asking).strip(), self._form.get("language", ""))
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            raise EngineError("the turn was cancelled") from None

    def cancel(self) -> None:
        """Forget the audio, close the connection."""
        self._heard.clear()
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, wav: bytes) -> str:
        files = {"file": ("turn.wav", wav, "audio/wav")}
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._server.asked("audio/transcriptions", data=self._form, files=files) as response,
            ):
                return _Answer.model_validate_json(await whole(response)).text
        except TimeoutError:
            raise EngineError(f"the upstream server sent no transcript within {self._timeout_s:g} s") from None
        except ValidationError:
            raise EngineError("the upstream server sent something that is no transcript") from None


def _wav(pcm: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(SAMPLE_RATE)
        wav.writeframes(pcm.ljust(SHORTEST_BYTES, b"\0"))
    return file.getvalue()
