"""Asks a model whether turns are over, on a thread of its own.

All who ask while the model is busy are judged together next, `MOST_TOGETHER` at most, the longest waiting first. Who
asks again before that has only the newest question waiting. A model that fails gives no advice (None), and neither does
one that is too slow: nobody waits for it, because silence ends turns without it.
"""

import asyncio
import math
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np
import structlog

from bus.errors import EngineError
from bus.logs import OncePerSecond
from services.vad import metrics
from services.vad.end_of_turn.model import Model
from services.vad.engine import Floats

log = structlog.get_logger(__name__)

# Smart-turn takes 10 to 60 ms a turn on a core, alone or together: more would keep the first from its answer.
MOST_TOGETHER: Final = 8
# Questions that wait, 256 kB each at most. Beyond it the oldest gets no advice: its silence is as good as over.
MOST_WAITING: Final = 64
# Full scale of 16 bits.
SCALE: Final = np.float32(1 / 32768)
LOG_LIMIT: Final = OncePerSecond()

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """Is the turn whose last seconds are *pcm* over at *at*?"""

    asker: T
    at: int
    pcm: bytes


class Advisor(Generic[T]):
    """Bounded: one question for each asker, `MOST_WAITING` in all. Used on the event loop only.

    *answer*, called there too, takes the asker, the position asked about and the probability that the turn was over
    there, or None.
    """

    def __init__(self, model: Model, answer: Callable[[T, int, float | None], None]) -> None:
        self._model = model
        self._answer = answer
        self._waiting: dict[T, Question[T]] = {}
        self._busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vad-end-of-turn")

    @property
    def name(self) -> str:
        """The model's engine and, where it has one, its file."""
        return " ".join(filter(None, (self._model.name, self._model.model)))

    async def load(self) -> None:
        """Make the model ready.

        Raises:
            ConfigurationError: it cannot be loaded here.
        """
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(self._thread, self._model.load)

    def ask(self, asker: T, at: int, pcm: bytes) -> None:
        """Have *answer* called, once, unless *asker* asks again or is forgotten before the model gets to it."""
        self._waiting.pop(asker, None)
        if len(self._waiting) >= MOST_WAITING:
            oldest = self._waiting.pop(next(iter(self._waiting)))
            self._loop.call_soon(self._answer, oldest.asker, oldest.at, None)
        self._waiting[asker] = Question(asker, at, pcm)
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._begin)  # together with those who pause in the same step

    def forget(self, asker: T) -> None:
        """Drop what *asker* asked; what is being judged already is answered all the same."""
        self._waiting.pop(asker, None)

    def stop(self) -> None:
        """Judge nothing more. The thread ends with the turns it has, if it ends."""
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        batch = [self._waiting.pop(asker) for asker in list(self._waiting)[:MOST_TOGETHER]]
        self._busy = bool(batch)
        if batch:
            self._thread.submit(self._judge_and_return, batch)

    def _judge_and_return(self, batch: list[Question[T]]) -> None:
        began = time.perf_counter()
        turns = [np.frombuffer(question.pcm, "<i2") * SCALE for question in batch]
        found = self._judge(turns)
        metrics.END_OF_TURN_SECONDS.observe(time.perf_counter() - began)
        self._loop.call_soon_threadsafe(self._judged, batch, found)

    def _judge(self, turns: list[Floats]) -> list[float | None]:
        try:
            found = self._model.judge(turns)
            if len(found) != len(turns):
                raise EngineError(f"{len(found)} answers about {len(turns)} turns")  # noqa: TRY301 - as any failure
        except Exception as error:
            if len(turns) > 1:  # one of them, or memory: each alone
                return [advice for turn in turns for advice in self._judge([turn])]
            more = LOG_LIMIT.held_back("failed")
            if more is not None:
                log.exception("end-of-turn model failed", model=self._model.name, error=type(error).__name__, more=more)
            return [None]
        return [probability if math.isfinite(probability) else None for probability in found]

    def _judged(self, batch: list[Question[T]], found: list[float | None]) -> None:
        for question, probability in zip(batch, found, strict=True):
            self._answer(question.asker, question.at, probability)
        self._begin()
