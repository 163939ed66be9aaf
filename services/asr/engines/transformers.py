"""Any speech recogniser of transformers, from a folder or the hub; turns of all sessions in batches.

Whisper, Moonshine, Speech2Text and others that write (AutoModelForSpeechSeq2Seq), wav2vec2, HuBERT, MMS and others that
spell (AutoModelForCTC). Turns, windows and rounds are those of the faster-whisper engine, which is the better choice
for Whisper itself: it is faster on a CPU, and takes prompts.
"""

import os

from pydantic import BaseModel, Field

from bus.errors import ConfigurationError, EngineError, InvalidRequestError
from services.asr.engine import Abilities, Request, Stream
from services.asr.speech_models.loading import load
from services.asr.whisper.guards import Guards
from services.asr.whisper.rounds import Rounds
from services.asr.whisper.scheduler import Scheduler, Ticket
from services.asr.whisper.turn import Asked, Turn
from services.asr.whisper.window import LONGEST_S
from services.pretrained import Source


class Settings(BaseModel):
    """What the transformers engine can be told."""

    model: str = Field("openai/whisper-small", min_length=1, description="a name on the hub, or a folder")
    download_root: str = Field("", description="folder for downloads; default: the hub's own cache")
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1 or mps")
    dtype: str = Field(
        "auto", pattern="^(auto|float32|float16|bfloat16)$", description="of the weights; auto: as they are stored"
    )
    cpu_threads: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, description="default: one for each core"
    )
    language: str = Field("auto", description="what is spoken in all turns (en, de, ...); auto: as asked, or detected")
    window_s: float = Field(
        2.0, ge=0.5, le=LONGEST_S, description="audio is padded to a multiple of this; Whisper always hears 30"
    )
    gather_ms: float = Field(10.0, ge=0, le=1000, description="how long the first of a batch waits for others")
    batch_size: int = Field(8, ge=1, le=512, description="finals decoded together at most")
    partial_batch_size: int = Field(4, ge=1, le=512, description="partials together at most; a final waits for these")
    compression_ratio_threshold: float = Field(2.4, gt=0, description="no text that compresses better: it is a loop")
    silence_dbfs: float = Field(-60.0, le=0, description="no text where no 20 ms are louder")


class Engine:
    """One model for all turns. More turns than a batch holds wait their turn, their audio kept."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._fixed = "" if settings.language == "auto" else _primary(settings.language)
        self._languages: tuple[str, ...] = ()
        self._window_s = settings.window_s
        self._scheduler: Scheduler | None = None

    async def load(self) -> Abilities:
        """Load the model.

        Raises:
            ConfigurationError: a package or the model is missing or broken, or the model does not know the language.
        """
        told = self._settings
        guards = Guards(compression_ratio=told.compression_ratio_threshold, silence_dbfs=told.silence_dbfs)
        source = Source(told.model, told.device, told.dtype, told.cpu_threads, told.download_root)
        model = await load(source, guards)
        if self._fixed and model.languages and self._fixed not in model.languages:
            raise ConfigurationError(f"speech model {told.model} does not know --language {told.language}")
        self._languages = (self._fixed,) if self._fixed else model.languages
        self._window_s = LONGEST_S if model.fixed_window else told.window_s
        rounds = Rounds[Ticket](told.batch_size, told.partial_batch_size)
        self._scheduler = Scheduler(model.decode, rounds, told.gather_ms / 1e3)
        return Abilities(model=told.model, languages=self._languages)

    def stream(self, request: Request) -> Stream:
        """Begin a turn.

        Raises:
            InvalidRequestError: a language that the model does not know, or other than the fixed one.
            EngineError: the engine is not loaded, or has stopped.
        """
        if self._scheduler is None:
            raise EngineError("the recogniser is not loaded")
        language = _primary(request.language) or self._fixed
        if language and self._languages and language not in self._languages:
            raise InvalidRequestError(f"language {request.language!r} is not known here")
        return Turn(self._scheduler, Asked(language=language, window_s=self._window_s))

    async def stop(self) -> None:
        """End the thread, let go of the model."""
        if self._scheduler is not None:
            await self._scheduler.stop()
        self._scheduler = None


def _primary(language: str) -> str:
    return language.partition("-")[0].lower()
