"""Known answers after known times: for tests, load, and a suite that simulates itself. `{text}` is what the user said.

Every request is numbered from 1; `--fail_every 3` fails the third, sixth and so on after its first word, and
`--hang_every 3` never answers them.
"""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import count
from typing import Final
from uuid import uuid4

from pydantic import BaseModel, Field, field_validator

from bus.errors import EngineError
from bus.latency import Latency, LatencyText
from services.llm.engine import Abilities, Author, Call, Mode, Piece, Request, Text
from services.llm.pieces import stream, words_of

# So many filler words make a sentence: the TTS has something to cut at.
SENTENCE_WORDS: Final = 8


class Settings(BaseModel):
    """What the scripted engine can be told."""

    reply: str = Field("I heard {text}.", description="the answer; {text} is the last thing the user said")
    words: int = Field(0, ge=0, description="answer with so many filler words a<request>w<place> instead")
    first_token_latency: LatencyText = Field("0", description="seconds until the first word, fixed or a distribution")
    token_latency: LatencyText = Field("0", description="seconds between words, fixed or a distribution")
    fail_every: int = Field(
        0, ge=0, description="fail each request whose number this divides, after its first word; 0: none"
    )
    hang_every: int = Field(0, ge=0, description="never answer requests whose number this divides; 0: none")
    call_tool: str = Field("", description="where a tool of this name is declared, call it before answering")
    call_arguments: str = Field("{}", description="JSON object of arguments for --call_tool")
    seed: int = Field(0, description="makes the drawn latencies the same in every run")

    @field_validator("call_arguments")
    @classmethod
    def _json_object(cls, value: str) -> str:
        try:
            if isinstance(json.loads(value), dict):
                return value
        except json.JSONDecodeError:
            pass
        raise ValueError("must be a JSON object")


class Engine:
    """Says what it is told to."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rng = random.Random(settings.seed)
        self._first = Latency.parse(settings.first_token_latency)
        self._later = Latency.parse(settings.token_latency)
        self._numbers = count(1)

    async def load(self) -> Abilities:
        """Say at once what there is: nothing needs loading."""
        return Abilities(model="scripted", tools=True)

    async def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        """Stream the scripted answer."""
        number = next(self._numbers)
        if _falls_on(self._settings.hang_every, number):
            await asyncio.Event().wait()
        fails = _falls_on(self._settings.fail_every, number)
        latencies = [self._first]
        streaming = stream(request, self._pieces(request, number), lambda: self._draw(latencies))
        async with aclosing(streaming) as pieces:
            async for piece in pieces:
                yield piece
                if fails:
                    raise EngineError(f"scripted to fail every {self._settings.fail_every} requests")

    async def stop(self) -> None:
        """Nothing was taken."""

    def _draw(self, latencies: list[Latency]) -> float:
        return (latencies.pop() if latencies else self._later).draw(self._rng)

    def _pieces(self, request: Request, number: int) -> Iterator[Text | Call]:
        if self._calls(request):
            yield from _call(self._settings.call_tool, self._settings.call_arguments)
        elif self._settings.words:
            yield from (Text(word) for word in _filler(number, self._settings.words))
        else:
            yield from (Text(word) for word in words_of(self._settings.reply.replace("{text}", _last_text(request))))

    def _calls(self, request: Request) -> bool:
        """Tell whether it is time to call the tool: it is declared, allowed, and has not just answered."""
        answered = bool(request.messages) and request.messages[-1].author is Author.TOOL
        declared = any(tool.name == self._settings.call_tool for tool in request.tools)
        return declared and not answered and request.tool_choice is not Mode.NONE


def _falls_on(every: int, number: int) -> bool:
    return every > 0 and number % every == 0


def _call(name: str, arguments: str) -> Iterator[Call]:
    # In two pieces, as language models stream them: whoever reads them must join.
    call_id = f"call_{uuid4().hex[:16]}"
    middle = len(arguments) // 2
    yield Call(call_id, name, arguments[:middle], complete=False)
    yield Call(call_id, name, arguments[middle:], complete=True)


def _filler(number: int, words: int) -> Iterator[str]:
    for place in range(1, words + 1):
        ending = "." if place % SENTENCE_WORDS == 0 or place == words else ""
        yield f"{' ' if place > 1 else ''}a{number}w{place}{ending}"


def _last_text(request: Request) -> str:
    said = (message.text for message in reversed(request.messages) if message.author is Author.USER)
    return next(said, "").strip()
