"""Whisper through faster-whisper and CTranslate2: a hundred languages, CPU or GPU, turns of all sessions in batches.

The model is decoded with temperature 0 and without timestamps; voice activity is the vad's affair.
"""

import os

from pydantic import BaseModel, Field

from bus.errors import ConfigurationError, EngineError, InvalidRequestError
from services.asr.engine import Abilities, Request, Stream
from services.asr.whisper import loading
from services.asr.whisper.guards import Guards
from services.asr.whisper.model import Model
from services.asr.whisper.rounds import Rounds
from services.asr.whisper.scheduler import Scheduler
from services.asr.whisper.turn import Asked, Turn
from services.asr.whisper.window import LONGEST_S


class Settings(BaseModel):
    """What the faster-whisper engine can be told."""

    model: str = Field(
        "small", min_length=1, description="a size (tiny, base, small, turbo, ...), a name on the hub, or a folder"
    )
    download_root: str = Field("", description="folder for downloads; default: the hub's own cache")
    device: str = Field("auto", pattern="^(auto|cpu|cuda)$", description="auto, cpu or cuda")
    compute_type: str = Field("auto", description="int8, int8_float16, float16, float32, ...; auto: the fastest there")
    cpu_threads: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, description="default: one for each core"
    )
    language: str = Field("auto", description="what is spoken in all turns (en, de, ...); auto: as asked, or detected")
    beam_size: int = Field(5, ge=1, le=32, description="hypotheses kept for finals; partials are greedy")
    prompt: str = Field("", description="text to precede every turn that brings none of its own")
    hotwords: str = Field("", description="words to expect in every turn")
    window_s: float = Field(
        LONGEST_S, ge=0.5, le=LONGEST_S, description="audio is padded to a multiple of this; 30: exact, less: faster"
    )
    gather_ms: float = Field(10.0, ge=0, le=1000, description="how long the first of a batch waits for others")
    batch_size: int = Field(8, ge=1, le=512, description="finals decoded together at most")
    partial_batch_size: int = Field(4, ge=1, le=512, description="partials together at most; a final waits for these")
    no_speech_threshold: float = Field(
        0.6, ge=0, le=1, description="no text where silence is likelier and the log-probability below its threshold"
    )
    log_prob_threshold: float = Field(-1.0, le=0, description="mean log-probability of a token; see above")
    compression_ratio_threshold: float = Field(2.4, gt=0, description="no text that compresses better: it is a loop")
    silence_dbfs: float = Field(-60.0, le=0, description="no text where no 20 ms are louder")


class Engine:
    """One model for all turns. More turns than a batch holds wait their turn, their audio kept."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._fixed = "" if settings.language == "auto" else settings.language.partition("-")[0].lower()
        self._languages: tuple[str, ...] = ()
        self._model: Model | None = None
        self._scheduler: Scheduler | None = None

    async def load(self) -> Abilities:
        """Load the model.

        Raises:
            ConfigurationError: the package or the model is missing or broken, or the model does not know the language.
        """
        told = self._settings
        guards = Guards(
            no_speech=told.no_speech_threshold,
            log_prob=told.log_prob_threshold,
            compression_ratio=told.compression_ratio_threshold,
            silence_dbfs=told.silence_dbfs,
        )
        source = loading.Source(told.model, told.device, told.compute_type, told.cpu_threads, told.download_root)
        model = await loading.load(source, guards, told.beam_size)
        if self._fixed and self._fixed not in model.languages:
            raise ConfigurationError(f"whisper model {told.model} does not know --language {told.language}")
        if not self._fixed and not model.detects:
            raise ConfigurationError(f"whisper model {told.model} cannot detect languages: name one with --language")
        self._model = model
        self._languages = (self._fixed,) if self._fixed else model.languages
        self._scheduler = Scheduler(
            model.decode, Rounds(told.batch_size, told.partial_batch_size), told.gather_ms / 1e3
        )
        return Abilities(model=told.model, languages=self._languages)

    def stream(self, request: Request) -> Stream:
        """Begin a turn.

        Raises:
            InvalidRequestError: a language that the model does not know, or other than the fixed one.
            EngineError: the engine is not loaded, or has stopped.
        """
        if self._model is None or self._scheduler is None:
            raise EngineError("the recogniser is not loaded")
        language = request.language.partition("-")[0].lower() or self._fixed
        if language and language not in self._languages:
            raise InvalidRequestError(f"language {request.language!r} is not known here")
        context = self._model.context(request.prompt or self._settings.prompt, self._settings.hotwords)
        return Turn(self._scheduler, Asked(context, language, self._settings.window_s))

    async def stop(self) -> None:
        """End the thread, let go of the model."""
        if self._scheduler is not None:
            await self._scheduler.stop()
        self._model = None
