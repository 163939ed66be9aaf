"""What every engine that needs no model must keep to, held to one set of tests."""

# ruff: noqa: S106 - these tokens are words

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

import pytest

from services.llm.engine import Author, Done, Engine, Message, Reason, Request, Text
from services.llm.engines import openai, responder, scripted
from tests.services.llm.asking import ask, talk
from tests.support.openai_stub import shared_stub

ENGINES: dict[str, Callable[[], Engine]] = {
    "openai": lambda: openai.Engine(openai.Settings(base_url=shared_stub().base_url)),
    "responder": lambda: responder.Engine(responder.Settings()),
    "scripted": lambda: scripted.Engine(scripted.Settings(reply="I heard {text}, and that is all of it.")),
}
SLOW: dict[str, Callable[[], Engine]] = {
    "responder": lambda: responder.Engine(responder.Settings(token_latency="3600")),
    "scripted": lambda: scripted.Engine(scripted.Settings(first_token_latency="3600")),
}


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    engine = ENGINES[request.param]()
    await engine.load()
    yield engine
    await engine.stop()


REQUESTS = [
    talk("book a room"),
    talk(""),
    talk("\N{GRINNING FACE} Grüße \u4f60\u597d"),
    talk("a\x00b"),
    talk("word " * 20_000),
    Request(),
    Request(messages=(Message(Author.USER),)),
    Request(messages=(Message(Author.TOOL, ("{}",), call_id="c"),)),
    Request(messages=(Message(Author.ASSISTANT, ("Hello.",)),)),
]


@pytest.mark.parametrize("request_", REQUESTS)
async def test_every_request_is_answered_word_by_word_and_ends(engine: Engine, request_: Request) -> None:
    answer = await ask(engine, request_)
    assert answer.text.strip()
    assert not answer.text.startswith(" ")
    assert all(len(word) <= 60 for word in answer.words)
    assert answer.done is not None
    assert answer.done.reason is Reason.STOP
    assert answer.done.usage.output_tokens == len(answer.words)


@pytest.mark.parametrize("allowed", [1, 2, 5])
async def test_no_more_tokens_come_than_are_allowed(engine: Engine, allowed: int) -> None:
    whole = await ask(engine, talk("book a room"))
    short = await ask(engine, replace(talk("book a room"), max_output_tokens=allowed))
    assert short.words == whole.words[:allowed]
    assert short.done is not None
    assert short.done.reason is Reason.MAX_OUTPUT_TOKENS
    assert short.done.usage.output_tokens == allowed


async def test_an_answer_of_just_the_tokens_allowed_is_whole(engine: Engine) -> None:
    whole = await ask(engine, talk("book a room"))
    again = await ask(engine, replace(talk("book a room"), max_output_tokens=len(whole.words)))
    assert again.done is not None
    assert again.done.reason is Reason.STOP


async def test_two_conversations_at_once_do_not_mix(engine: Engine) -> None:
    async def words(canary: str) -> set[str]:
        return {(await ask(engine, talk(f"the {canary} sings"))).text for _ in range(20)}

    heard = await asyncio.gather(words("robin"), words("raven"))
    assert all("robin" in text and "raven" not in text for text in heard[0])
    assert all("raven" in text and "robin" not in text for text in heard[1])


async def test_a_closed_stream_gives_nothing_more(engine: Engine) -> None:
    async with aclosing(engine.generate(talk("book a room"))) as pieces:
        assert isinstance(await anext(pieces), Text)
    assert [piece async for piece in pieces] == []


@pytest.mark.parametrize("name", SLOW)
async def test_a_cancelled_wait_ends_at_once(name: str) -> None:
    pieces = SLOW[name]().generate(talk("book a room"))
    waiting = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [piece async for piece in pieces] == []


async def test_a_long_answer_lets_others_run(engine: Engine) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    answer = await ask(engine, talk("repeat after me " + "na " * 50))
    counting.cancel()
    assert turns >= len(answer.words)
    assert isinstance(answer.done, Done)
