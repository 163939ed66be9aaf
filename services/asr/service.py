"""Answers the speech of a turn with one Transcript, and with PartialTranscripts meanwhile where they are wanted.

The turn's first frame carries `recognition` and takes the lease. The Transcript carries the stamps of the last Speech
frame, ASR_ENDED and ASR_FINAL. Partials are asked for at most every `PARTIAL_S`, one at a time, and never once the
turn's last audio is here: the final waits for none of them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

from bus.errors import InvalidRequestError, JobError
from bus.frames import Frame, Header, answer, stamp
from bus.jobs import Job, Scope
from bus.serve import Description
from proto.v1 import speech_pb2 as pb
from services.asr import metrics
from services.asr.agreement import Agreement, Partial
from services.asr.assembly import SAMPLE_RATE, Assembly
from services.asr.engine import Abilities, Engine, Recognised, Request, Stream

# People read about four words a second: more partials would not be noticed.
PARTIAL_S: Final = 0.3
# How long a missing piece of the turn may be on its way. Frames overtake by milliseconds; what is later is lost.
GAP_S: Final = 1.0


class Recognition:
    """What the service does with each lease: one turn. *name* is the engine's, for announcements."""

    role = pb.ASR
    scope = Scope.TURN
    accepts = frozenset({"speech"})
    early: frozenset[str] = frozenset()

    def __init__(self, name: str, engine: Engine) -> None:
        self._name = name
        self._engine = engine
        self._abilities = Abilities()

    async def load(self) -> Description:
        """Make the engine ready."""
        able = self._abilities = await self._engine.load()
        capabilities = pb.Capabilities(languages=able.languages, sample_rates=[SAMPLE_RATE], streaming=able.streaming)
        return Description(engine=self._name, model=able.model, capabilities=capabilities)

    def opens(self, body: str, frame: Frame) -> bool:
        """Tell whether *frame* begins a turn."""
        return body == "speech" and frame.speech.HasField("recognition")

    async def handle(self, job: Job) -> None:
        """Recognise the job's turn."""
        frames = job.frames()
        _, opening = await anext(frames)
        request = self._request(opening.speech.recognition)
        stream = self._engine.stream(request)
        turn = Turn(job, stream)
        try:
            async with turn.partials(wanted=request.partials):
                await turn.listen(opening, frames)
            await turn.answer()
        finally:
            stream.cancel()

    async def stop(self) -> None:
        """Let go of the engine."""
        await self._engine.stop()

    def _request(self, asked: pb.Recognition) -> Request:
        known = {_primary(language) for language in self._abilities.languages}
        if asked.language and known and _primary(asked.language) not in known:
            raise InvalidRequestError(f"this recogniser knows only {', '.join(self._abilities.languages)}")
        return Request(asked.language, asked.prompt, asked.model, asked.partials)


class Turn:
    """One turn on its way through the engine."""

    def __init__(self, job: Job, stream: Stream) -> None:
        self._job = job
        self._stream = stream
        self._assembly = Assembly()
        self._gap: asyncio.TimerHandle | None = None
        self._last = Header()
        self._ended_at: float | None = None

    async def listen(self, frame: Frame, frames: AsyncIterator[tuple[str, Frame]]) -> None:
        """Give the turn's audio to the engine until all of it is there: *frame*, then *frames*."""
        try:
            while True:
                await self._hear(frame)
                if self._assembly.complete:
                    return
                _, frame = await anext(frames)
        finally:
            self._forget_gap()

    async def answer(self) -> None:
        """Send the turn's Transcript."""
        self._job.owed_since = self._ended_at  # an engine that hangs, or has no worker free, shows in the queue's age
        found = await self._stream.finish() if self._assembly.samples else Recognised("")
        transcript = pb.Transcript(
            text=found.text,
            language=found.language,
            confidence=found.confidence,
            audio_ms=self._assembly.samples * 1000 // SAMPLE_RATE,
        )
        frame = answer(self._last, transcript=transcript)
        frame.header.stamps.extend([*self._last.stamps, stamp(pb.Stamp.ASR_FINAL)])
        self._job.send(self._job.reply_to, frame)
        self._measure(found)

    @asynccontextmanager
    async def partials(self, *, wanted: bool) -> AsyncIterator[None]:
        """Send partials inside this context, if they are *wanted*. None is sent after it."""
        if not wanted:
            yield
            return
        task = asyncio.create_task(self._send_partials())
        task.add_done_callback(self._partials_ended)
        try:
            yield
        finally:
            task.cancel()

    async def _hear(self, frame: Frame) -> None:
        speech = frame.speech
        if speech.last and self._ended_at is None:
            self._ended_at = _now()
            self._last = frame.header
            self._last.stamps.append(stamp(pb.Stamp.ASR_ENDED))
        pcm = self._assembly.add(speech.pcm, speech.at_sample, last=speech.last)
        self._watch_gap()
        if pcm:
            await self._stream.accept(pcm)

    async def _send_partials(self) -> None:
        agreement = Agreement()
        shown = Partial()
        heard = 0
        while True:
            await asyncio.sleep(PARTIAL_S)
            if self._assembly.samples == heard:  # the same hypothesis again would agree with itself
                continue
            heard = self._assembly.samples
            newest = agreement.hear(await self._stream.partial())
            if newest != shown:
                shown = newest
                self._job.reply(partial_transcript=pb.PartialTranscript(stable=shown.stable, unstable=shown.unstable))

    def _partials_ended(self, task: asyncio.Task[None]) -> None:
        # Whatever broke the partials would break the final: the turn fails now, however much of it is still to come.
        if not task.cancelled() and task.exception() is not None:
            self._job.end(cast("Exception", task.exception()))

    def _watch_gap(self) -> None:
        if not self._assembly.gap:
            self._forget_gap()
        elif self._gap is None:
            missing = JobError(f"a piece of the turn's audio did not come within {GAP_S:g} s")
            self._gap = asyncio.get_running_loop().call_later(GAP_S, self._job.end, missing)

    def _forget_gap(self) -> None:
        if self._gap is not None:
            self._gap.cancel()
            self._gap = None

    def _measure(self, found: Recognised) -> None:
        audio_s = self._assembly.samples / SAMPLE_RATE
        metrics.FINAL_SECONDS.observe(_now() - (self._ended_at or _now()))
        metrics.AUDIO_SECONDS.inc(audio_s)
        if found.busy_s and audio_s:
            metrics.REAL_TIME_FACTOR.observe(found.busy_s / audio_s)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _primary(language: str) -> str:
    """Return the language without region and script: `en` of `en-US`."""
    return language.partition("-")[0].lower()
