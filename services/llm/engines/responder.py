"""A small set of rules instead of a language model: needs no download, says what it is, streams like the others."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, Field

from bus.errors import ConfigurationError
from bus.latency import Latency, LatencyText
from services.llm.engine import Abilities, Call, Piece, Request, Text
from services.llm.pieces import stream, words_of
from services.llm.responder.conversation import Responder


class Settings(BaseModel):
    """What the responder can be told."""

    token_latency: LatencyText = Field("0", description="seconds before each word, fixed or a distribution")
    timezone: str = Field("", description="IANA time zone of time and date, as Europe/Paris; empty: the host's")


class Engine:
    """Answers by rules. *now* takes the clock's place in tests, *rng* that of chance."""

    def __init__(
        self, settings: Settings, *, now: Callable[[], datetime] | None = None, rng: random.Random | None = None
    ) -> None:
        self._settings = settings
        self._latency = Latency.parse(settings.token_latency)
        self._rng = rng or random.Random()
        self._now = now
        self._responder = Responder(now or datetime.now, self._rng)

    async def load(self) -> Abilities:
        """Find the time zone.

        Raises:
            ConfigurationError: there is none of that name here.
        """
        if self._settings.timezone and self._now is None:
            zone = _zone(self._settings.timezone)
            self._responder = Responder(lambda: datetime.now(zone), self._rng)
        return Abilities(model="rules", languages=("en",), tools=True)

    async def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        """Stream the answer to *request*."""
        # On a thread, because a conversation may be long; an answer takes well under a millisecond as a rule.
        answer = await asyncio.to_thread(self._responder.respond, request)
        streaming = stream(request, _pieces(answer), lambda: self._latency.draw(self._rng))
        async with aclosing(streaming) as pieces:
            async for piece in pieces:
                yield piece

    async def stop(self) -> None:
        """Nothing was taken."""


def _pieces(answer: str | Call) -> Iterator[Text | Call]:
    if isinstance(answer, Call):
        yield answer
    else:
        yield from (Text(word) for word in words_of(answer))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"unknown time zone {name!r}; use a name such as Europe/Paris, or pip install tzdata"
        ) from error
