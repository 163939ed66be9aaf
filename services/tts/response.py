"""One answer of the agent being spoken: text in, clauses to the engine, audio out."""

import asyncio
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import structlog

from bus.errors import EngineError, JobError, OverloadedError
from bus.frames import Frame, stamp
from bus.jobs import Job
from proto.v1 import speech_pb2 as pb
from services.tts import metrics
from services.tts.clauses import Boundary, ClauseCutter, ending_of
from services.tts.clean import speakable
from services.tts.deltas import DeltaOrder
from services.tts.engine import Engine
from services.tts.outlet import Outlet
from services.tts.places import Places
from services.tts.settings import Speaking
from services.tts.sound import Sound

log = structlog.get_logger(__name__)

# A missing piece of text that does not come within this is lost. Frames of one sender come in order.
GAP_S: Final = 2.0
# An answer of so many characters takes five hours to speak. More text waiting fails the response with OVERLOADED.
CHARACTERS_WAITING: Final = 256 * 1024
# Cutting so many characters takes some 6 ms of the event loop. A frame can hold eight million.
CHARACTERS_AT_ONCE: Final = 1024
# 200 digits at quarter speed are four minutes. An engine that makes more of one clause has run away.
CLAUSE_AT_MOST_S: Final = 300.0


@dataclass(frozen=True)
class Manner:
    """How a response wants to be spoken, after the request was checked."""

    voice: str
    language: str
    speed: float
    sample_rate: int
    english: bool


class Response:
    """Speaks one response.

    Three tasks share the work: one reads frames at once (text, grants), one has clauses made, one sends what is
    granted. An engine's thread never waits for a grant: it makes one clause to its end. The next clause is begun while
    less than `ahead_s` of audio waits, so the audio held here is at most that and one clause (`AT_MOST` characters).
    """

    def __init__(
        self,
        job: Job,
        manner: Manner,
        speaking: Speaking,
        *,
        engine: Engine,
        places: Places,
        threads: Executor,
        granted_ms: int,
    ) -> None:
        self._job = job
        self._manner = manner
        self._speaking = speaking
        self._engine = engine
        self._places = places
        self._threads = threads
        self._cutter = ClauseCutter()
        self._clauses: asyncio.Queue[str | None] = asyncio.Queue()  # bounded by CHARACTERS_WAITING
        self._characters_waiting = 0
        self._outlet = Outlet(job, manner.sample_rate, granted_ms, speaking.joined_ms)
        self._sound = Sound(engine.sample_rate, manner.sample_rate, speaking.chunk_ms)
        self._pause_ms = 0  # silence that belongs before the next clause
        self._text_at = 0.0  # when the first text came
        self._begun = False  # the engine was asked for the first clause
        self._sounding = False  # and has made audio
        self._stopped = threading.Event()

    async def speak(self, frames: AsyncIterator[tuple[str, Frame]], text: str, stamps: list[pb.Stamp]) -> None:
        """Speak *text*, or what the TextDeltas among *frames* bring if it is empty; return when everything is sent.

        *stamps* belong to *text*.

        Raises:
            EngineError: the engine failed, or text was lost.
            OverloadedError: too much text waits.
            InvalidRequestError: the engine cannot do what was asked.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read(frames, complete=bool(text)))
                if text:
                    self._begin(stamps)
                    tasks.create_task(self._read_all(text))
                making = tasks.create_task(self._make_all())
                audio_ms = await self._outlet.deliver()
                await making
                reading.cancel()
            self._job.reply(synthesis_done=pb.SynthesisDone(audio_ms=audio_ms))
        except BaseExceptionGroup as group:
            raise _first_of(group) from None
        finally:
            self._stopped.set()

    # -- text ---------------------------------------------------------------------------------------------------------

    async def _read(self, frames: AsyncIterator[tuple[str, Frame]], *, complete: bool) -> None:
        deltas = DeltaOrder()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as gap:
                async for body, frame in frames:
                    if body == "synthesis_grant":
                        self._outlet.grant(frame.synthesis_grant.until_ms)
                    elif not complete:
                        complete = await self._read_text(deltas, body, frame)
                        if not deltas.has_gap:
                            gap.reschedule(None)
                        elif gap.when() is None:
                            gap.reschedule(loop.time() + GAP_S)
        except TimeoutError:
            raise deltas.lost() from None

    async def _read_all(self, text: str) -> None:
        await self._cut(text)
        self._end_text()

    async def _read_text(self, deltas: DeltaOrder, body: str, frame: Frame) -> bool:
        # Tells whether the text is complete.
        if body == "text_delta":
            self._begin(list(frame.header.stamps))
            await self._cut(deltas.take(frame.text_delta.seq, frame.text_delta.text))
        elif body == "generation_done":
            deltas.finish(frame.generation_done.deltas)
            self._end_text()
            return True
        return False

    def _begin(self, stamps: list[pb.Stamp]) -> None:
        if not self._text_at:
            self._text_at = time.monotonic()
            self._outlet.stamp(*stamps)

    async def _cut(self, text: str) -> None:
        for start in range(0, len(text), CHARACTERS_AT_ONCE):
            self._add(self._cutter.feed(text[start : start + CHARACTERS_AT_ONCE]))
            if start + CHARACTERS_AT_ONCE < len(text):
                await asyncio.sleep(0)  # the other sessions' turn

    def _end_text(self) -> None:
        self._add(self._cutter.flush())
        self._clauses.put_nowait(None)

    def _add(self, clauses: list[str]) -> None:
        self._characters_waiting += sum(map(len, clauses))
        if self._characters_waiting > CHARACTERS_WAITING:
            raise OverloadedError(f"more than {CHARACTERS_WAITING} characters wait to be spoken")
        for clause in clauses:
            self._clauses.put_nowait(clause)

    # -- sound --------------------------------------------------------------------------------------------------------

    async def _make_all(self) -> None:
        while (clause := await self._clauses.get()) is not None:
            await self._outlet.room(self._speaking.ahead_s)
            self._characters_waiting -= len(clause)
            spoken = speakable(clause, english=self._manner.english)
            if spoken and await self._make(clause, spoken):
                self._pause_ms = self._pause_after(clause)
                metrics.CLAUSES.labels("spoken").inc()
            else:
                self._outlet.put(clause, [])
                metrics.CLAUSES.labels("silent").inc()
        self._outlet.finish()

    async def _make(self, clause: str, spoken: str) -> bool:
        # Tells whether there was anything to hear.
        async with self._places.taken(self._outlet.waiting_s):
            if not self._begun:
                self._begun = True
                self._outlet.stamp(stamp(pb.Stamp.TTS_STARTED))
            loop = asyncio.get_running_loop()

            def made(text: str, pieces: list[bytes]) -> None:
                loop.call_soon_threadsafe(self._made, text, pieces)

            return await loop.run_in_executor(self._threads, self._synthesize, clause, spoken, made)

    def _synthesize(self, clause: str, spoken: str, made: Callable[[str, list[bytes]], object]) -> bool:
        # Runs on a thread of the pool.
        heard = False
        try:
            for pieces in self._pieces(spoken):
                if pieces and not heard:
                    made("", self._sound.pause(self._pause_ms))
                if pieces:
                    made("" if heard else clause, pieces)
                    heard = True
        except JobError:
            raise
        except Exception as error:
            # Only type and place: the text of an unforeseen exception may hold what is being said.
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error("engine failed", error=type(error).__name__, file=place.filename, line=place.lineno)  # noqa: TRY400
            raise EngineError(f"the engine failed: {type(error).__name__}") from error
        return heard

    def _pieces(self, spoken: str) -> Iterator[list[bytes]]:
        manner, rate = self._manner, self._engine.sample_rate
        began, samples = time.monotonic(), 0
        with closing(self._engine.synthesize(spoken, manner.voice, manner.language, manner.speed)) as chunks:
            for pcm in chunks:
                if self._stopped.is_set():
                    return
                samples += len(pcm) // 2
                if samples > rate * CLAUSE_AT_MOST_S:
                    raise EngineError(f"more than {CLAUSE_AT_MOST_S:.0f} s of audio for one clause")
                yield self._sound.push(pcm)
        yield self._sound.end()
        if samples:
            metrics.REAL_TIME_FACTOR.observe((time.monotonic() - began) * rate / samples)

    def _made(self, text: str, pieces: list[bytes]) -> None:
        if pieces and not self._sounding:
            self._sounding = True
            metrics.FIRST_AUDIO_SECONDS.observe(time.monotonic() - self._text_at)
        self._outlet.put(text, pieces)

    def _pause_after(self, clause: str) -> int:
        match ending_of(clause):
            case Boundary.SENTENCE:
                return self._speaking.sentence_pause_ms
            case Boundary.CLAUSE:
                return self._speaking.clause_pause_ms
            case _:
                return 0


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
