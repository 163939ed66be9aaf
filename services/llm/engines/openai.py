"""Any server that speaks OpenAI's chat completions: hosted, vLLM, SGLang, llama.cpp, Ollama, LM Studio.

One request for one answer, never repeated in secret: the only second attempt is for a server that refuses a parameter
that it can be asked without (`stream_options`, or `max_tokens` where it wants `max_completion_tokens`), and that is
remembered. Closing the generator closes the connection, which is how these servers are told to stop.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, suppress
from typing import Any, Final

from pydantic import Field, ValidationError, field_validator

from bus.errors import EngineError, InvalidRequestError
from services.llm.completions.body import body_of
from services.llm.completions.calls import Calls
from services.llm.completions.chunks import DONE, REASONS, Choice, Chunk, Events
from services.llm.completions.thinking import Spoken
from services.llm.engine import Abilities, Done, Piece, Reason, Request, Text, Usage
from services.upstream import ParameterError, Server, Upstream, connect, error_of

REQUIREMENTS: Final = "services/llm/requirements/openai.txt"
# Usage comes after the end of the answer, if it comes. Nobody waits long for it.
USAGE_S: Final = 1.0
# What can be left out if a server refuses it, as its refusal names it.
SPARE: Final = frozenset({"stream_options", "max_completion_tokens"})
# And what stands behind the last event is read for the sake of the connection, which can then be used again.
REST_S: Final = 0.05
JSON: Final = {"Content-Type": "application/json"}


class Settings(Upstream):
    """What the openai engine can be told."""

    model: str = Field("", description="model to ask where a request names none; empty: the first the server lists")
    first_token_timeout_s: float = Field(30.0, gt=0, description="seconds until the first token must have come")
    token_timeout_s: float = Field(10.0, gt=0, description="seconds until the next token must have come")
    thinks_first: bool = Field(False, description="answers begin inside a thought: the server's template opens <think>")
    extra_body: str = Field("{}", description='JSON object added to every request, as {"reasoning_effort": "low"}')

    @field_validator("extra_body")
    @classmethod
    def _json_object(cls, value: str) -> str:
        try:
            if isinstance(json.loads(value), dict):
                return value
        except json.JSONDecodeError:
            pass
        raise ValueError("must be a JSON object")


class Engine:
    """Passes requests on to a server, and its answers back."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._extra: dict[str, Any] = json.loads(settings.extra_body)
        self._model = settings.model
        self._server: Server | None = None
        self._refused: frozenset[str] = frozenset()

    async def load(self) -> Abilities:
        """Look whether the server answers; it need not.

        Raises:
            ConfigurationError: the key cannot be read, or httpx2 is missing.
        """
        self._server = connect(self._settings, REQUIREMENTS)
        models = await self._server.probe()
        self._model = self._model or next(iter(models), "")
        return Abilities(model=self._model, tools=True, images=True)

    async def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        """Stream the server's answer to *request*.

        Raises:
            InvalidRequestError: the server calls the request impossible.
            EngineError: the server refuses the key, cannot be reached, is late, fails, breaks off or sends garbage.
        """
        answer = Answer(thinking=self._settings.thinks_first)
        async with aclosing(self._chunks(request)) as chunks:
            async for chunk in chunks:
                for piece in answer.push(chunk):
                    await asyncio.sleep(0)  # many chunks may have come at once: a cancel is seen between them
                    yield piece
        for piece in answer.end():
            yield piece

    async def stop(self) -> None:
        """Close all connections."""
        if self._server is not None:
            await self._server.close()

    async def _chunks(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Yield the answer's chunks, each within its time. A second request only as the module's docstring says."""
        refused = self._refused
        while True:
            try:
                async with aclosing(self._asked(request, refused)) as chunks:
                    async for chunk in chunks:
                        # Only now: a refusal may quote the whole request, and mean another part of it.
                        self._refused |= refused
                        yield chunk
            except ParameterError as error:
                refused |= error.parameters
            else:
                return

    async def _asked(self, request: Request, refused: frozenset[str]) -> AsyncGenerator[Chunk, None]:
        loop = asyncio.get_running_loop()
        limit_s = self._settings.first_token_timeout_s
        deadline = loop.time() + limit_s
        began = ended = False
        chunks = self._received(self._body(request, refused), SPARE - refused)
        try:
            while True:
                async with asyncio.timeout_at(deadline):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk
                began = began or any(choice.delta and not choice.delta.empty for choice in chunk.choices or ())
                if not ended and any(choice.finish_reason for choice in chunk.choices or ()):
                    ended, limit_s = True, USAGE_S
                    deadline = loop.time() + limit_s
                elif began and not ended:
                    limit_s = self._settings.token_timeout_s
                    deadline = loop.time() + limit_s
        except (TimeoutError, EngineError) as error:
            if ended:  # only usage is missing
                return
            if isinstance(error, EngineError):
                raise
            what = "nothing more" if began else "no token"
            raise EngineError(f"the upstream server sent {what} for {limit_s:g} s") from None
        finally:
            await chunks.aclose()

    async def _received(self, body: bytes, spare: frozenset[str]) -> AsyncGenerator[Chunk, None]:
        if self._server is None:
            raise EngineError("the engine is not loaded")
        events = Events()
        async with self._server.asked("chat/completions", content=body, headers=JSON, spare=spare) as response:
            received = response.aiter_bytes()
            async for part in received:
                for event in events.push(part):
                    if event == DONE:
                        yield Chunk(last=True)
                        await _read_out(received)
                        return
                    yield _chunk(event)

    def _body(self, request: Request, refused: frozenset[str]) -> bytes:
        model = request.model or self._model
        if not model:
            raise InvalidRequestError("no model is named, and the server listed none: set --model")
        body = body_of(request, model)
        if request.max_output_tokens is not None:
            # What OpenAI calls deprecated is what most other servers know.
            newer = "max_completion_tokens" in refused
            body["max_completion_tokens" if newer else "max_tokens"] = request.max_output_tokens
        if "stream_options" not in refused:
            body["stream_options"] = {"include_usage": True}
        try:
            return json.dumps(body | self._extra, allow_nan=False).encode()
        except ValueError:
            raise InvalidRequestError("the parameters of a tool hold a number that is none in JSON") from None


class Answer:
    """One answer, from chunks to pieces."""

    def __init__(self, *, thinking: bool) -> None:
        self._spoken = Spoken(thinking=thinking)
        self._calls = Calls()
        self._finish: str | None = None
        self._usage = Usage()

    def push(self, chunk: Chunk) -> Iterator[Piece]:
        """Take a chunk; yield what it adds."""
        if chunk.usage is not None:
            self._usage = chunk.usage.usage
        if chunk.last:
            self._finish = self._finish or "stop"
        for choice in (chunk.choices or [])[:1]:
            yield from self._add(choice)

    def end(self) -> Iterator[Piece]:
        """Yield what remains and the end.

        Raises:
            EngineError: the answer broke off.
        """
        if self._finish is None:
            raise EngineError("the upstream server's answer broke off")
        if text := self._spoken.end():
            yield Text(text)
        reason = REASONS.get(self._finish, Reason.STOP)
        if self._calls and reason in {Reason.STOP, Reason.TOOL_CALLS}:  # some servers call it a stop
            reason = Reason.TOOL_CALLS
            yield from self._calls.end()
        elif reason is Reason.TOOL_CALLS:
            reason = Reason.STOP
        yield Done(reason, self._usage)

    def _add(self, choice: Choice) -> Iterator[Piece]:
        self._finish = choice.finish_reason or self._finish
        if choice.delta is None:
            return
        if text := self._spoken.push((choice.delta.content or "") + (choice.delta.refusal or "")):
            yield Text(text)
        for delta in choice.delta.tool_calls or ():
            yield from self._calls.push(delta)


async def _read_out(received: AsyncIterator[bytes]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(REST_S):
            async for _ in received:
                pass


def _chunk(event: bytes) -> Chunk:
    try:
        chunk = Chunk.model_validate_json(event)
    except ValidationError:
        raise EngineError("the upstream server sent something that is no chunk of an answer") from None
    if chunk.error is not None:
        raise error_of(event)
    return chunk
