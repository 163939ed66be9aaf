"""The TTS service's handler: requests checked, one `Response` for each."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bus.errors import InvalidRequestError
from bus.frames import Frame
from bus.jobs import Job, Scope
from bus.serve import Description
from proto.v1 import speech_pb2 as pb
from services.tts.engine import Engine, chosen_language, chosen_speed, chosen_voice
from services.tts.places import Places
from services.tts.response import Manner, Response
from services.tts.settings import Speaking

# Telephone to studio; what is outside is a mistake.
LOWEST_RATE: Final = 8000
HIGHEST_RATE: Final = 48000


class Synthesis:
    """Speaks the responses of all sessions with one engine; the `Work` of the service.

    Clauses of different responses take turns on `threads` threads; the response with the least audio ready goes first.
    A response waits in that queue at most once, so the service's capacity bounds it.
    """

    role = pb.TTS
    scope = Scope.RESPONSE
    accepts = frozenset({"synthesis_request", "synthesis_grant", "text_delta", "generation_done"})
    early = frozenset({"text_delta", "generation_done"})

    def __init__(self, engine: Engine, speaking: Speaking, name: str) -> None:
        self._engine = engine
        self._speaking = speaking
        self._name = name
        count = speaking.threads or engine.threads or os.cpu_count() or 1
        self._places = Places(count)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="tts")

    async def load(self) -> Description:
        """Load the engine on a thread.

        Raises:
            ConfigurationError: the engine cannot run here.
        """
        await asyncio.get_running_loop().run_in_executor(self._threads, self._engine.load)
        return Description(
            engine=self._name,
            capabilities=pb.Capabilities(
                languages=self._engine.languages,
                voices=self._engine.voices,
                sample_rates=[self._engine.sample_rate],
                streaming=True,
            ),
        )

    def opens(self, body: str, frame: Frame) -> bool:  # noqa: ARG002 - the interface gives the frame, too
        """Tell whether *frame* asks for a new response."""
        return body == "synthesis_request"

    async def handle(self, job: Job) -> None:
        """Speak one response.

        Raises:
            InvalidRequestError: voice, language, speed or sample rate are impossible.
            EngineError: the engine failed, or text was lost.
        """
        frames = job.frames()
        _, opening = await anext(frames)
        request = opening.synthesis_request
        response = Response(
            job,
            self._manner(request),
            self._speaking,
            engine=self._engine,
            places=self._places,
            threads=self._threads,
            granted_ms=request.granted_ms,
        )
        await response.speak(frames, request.text, list(opening.header.stamps))

    async def stop(self) -> None:
        """Let go of the engine's threads; each ends with its clause, or before if that was cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _manner(self, request: pb.SynthesisRequest) -> Manner:
        engine = self._engine
        rate = request.sample_rate or engine.sample_rate
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise InvalidRequestError(f"sample rate {rate} is not between {LOWEST_RATE} and {HIGHEST_RATE} Hz")
        language = chosen_language(request.language, engine.languages)
        return Manner(
            voice=chosen_voice(request.voice, engine.voices),
            language=language,
            speed=chosen_speed(request.speed),
            sample_rate=rate,
            english=(language or engine.language).lower().startswith("en"),
        )
