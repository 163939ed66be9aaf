"""Answers generation requests: text goes to the gateway and to the TTS at once, tool calls to the gateway.

Frames, in order: TextDelta (`seq` from 0) and ToolCall as the engine gives them, then one GenerationDone. The first
TextDelta carries the stamps of the request, LLM_STARTED and LLM_FIRST_TOKEN; so does a first ToolCall. A generation
that fails ends with an Error to the gateway, which then cancels the TTS; the TTS is told nothing here.
Engines are asked on the event loop, and do what takes long elsewhere.
"""

import asyncio
import time
from contextlib import aclosing

from bus.errors import EngineError
from bus.frames import Frame, answer, stamp
from bus.jobs import Job, Scope
from bus.serve import Description
from proto.v1 import speech_pb2 as pb
from services.llm import metrics
from services.llm.engine import Call, Done, Engine, Request, Text, Usage
from services.llm.wire import REASONS, request_of, tool_call, usage_of


class Generation:
    """What the service does with each lease: one response. *name* is the engine's, for announcements."""

    role = pb.LLM
    scope = Scope.RESPONSE
    accepts = frozenset({"generation_request"})
    early: frozenset[str] = frozenset()

    def __init__(self, name: str, engine: Engine) -> None:
        self._name = name
        self._engine = engine

    async def load(self) -> Description:
        """Make the engine ready."""
        abilities = await self._engine.load()
        capabilities = pb.Capabilities(
            languages=abilities.languages, streaming=True, tools=abilities.tools, images=abilities.images
        )
        return Description(engine=self._name, model=abilities.model, capabilities=capabilities)

    def opens(self, body: str, frame: Frame) -> bool:  # noqa: ARG002 - whatever it says, a request opens
        """Tell whether *frame* asks for a new lease."""
        return body == "generation_request"

    async def handle(self, job: Job) -> None:
        """Answer the job's request. Another request with the same response_id, sent meanwhile, is not looked at."""
        reason = "failed"
        try:
            async for _, frame in job.frames():
                reason = await self._generate(job, request_of(frame.generation_request))
                break
        except asyncio.CancelledError:
            reason = "cancelled"
            raise
        finally:
            metrics.GENERATIONS.labels(reason).inc()

    async def stop(self) -> None:
        """Let go of the engine."""
        await self._engine.stop()

    async def _generate(self, job: Job, request: Request) -> str:
        """Pass on the engine's pieces; return the reason of the end."""
        answering = Answer(job)
        async with aclosing(self._engine.generate(request)) as pieces:
            async for piece in pieces:
                match piece:
                    case Text(text):
                        answering.say(text)
                    case Call():
                        answering.call(piece)
                    case Done():
                        answering.end(piece)
                        return piece.reason.value
        raise EngineError("the engine's stream broke off")


class Answer:
    """One response on its way out."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._started_at = time.perf_counter()
        self._stamps = [*job.header.stamps, stamp(pb.Stamp.LLM_STARTED)]
        self._begun = False
        self._deltas = 0
        self._calls = 0

    def say(self, text: str) -> None:
        """Send the next words to gateway and TTS."""
        if not text:
            return
        self._begin()
        delta = pb.TextDelta(text=text, seq=self._deltas)
        stamps = self._stamps if self._deltas == 0 else []
        self._deltas += 1
        job = self._job
        for address, reply_to in ((job.reply_to, ""), (job.next, job.reply_to)):
            if address:
                frame = answer(job.header, reply_to=reply_to, text_delta=delta)
                frame.header.stamps.extend(stamps)
                job.send(address, frame)

    def call(self, call: Call) -> None:
        """Send a tool call, or a piece of one, to the gateway."""
        self._begin()
        frame = answer(self._job.header, tool_call=tool_call(call))
        if self._calls == 0:
            frame.header.stamps.extend(self._stamps)
        self._calls += 1
        self._job.send(self._job.reply_to, frame)

    def end(self, done: Done) -> None:
        """Tell gateway and TTS that nothing more follows."""
        _count(done.usage)
        end = pb.GenerationDone(reason=REASONS[done.reason], usage=usage_of(done.usage), deltas=self._deltas)
        self._job.reply(generation_done=end)
        self._job.forward(generation_done=end)

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._stamps.append(stamp(pb.Stamp.LLM_FIRST_TOKEN))
            metrics.FIRST_TOKEN_SECONDS.observe(time.perf_counter() - self._started_at)


def _count(usage: Usage) -> None:
    metrics.TOKENS.labels("input").inc(usage.input_tokens)
    metrics.TOKENS.labels("output").inc(usage.output_tokens)
    metrics.TOKENS.labels("cached").inc(usage.cached_tokens)
