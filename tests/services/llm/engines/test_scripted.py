"""The scripted engine: known outputs, drawn latencies, faults on demand."""

# ruff: noqa: S106 - these tokens are words

import asyncio
import json

import pytest
from pydantic import ValidationError

from bus.errors import EngineError
from services.llm.engine import Mode, Reason, Request, Tool
from services.llm.engines.scripted import Engine, Settings
from tests.services.llm.asking import ask, output, talk, user


async def test_it_says_what_it_heard() -> None:
    assert (await ask(Engine(Settings()), talk("the canary sings"))).text == "I heard the canary sings."


async def test_the_reply_is_a_template_and_braces_in_speech_are_harmless() -> None:
    engine = Engine(Settings(reply="Heard {text}, {sic}"))
    assert (await ask(engine, talk("{0} {text}"))).text == "Heard {0} {text}, {sic}"


async def test_filler_words_tell_stale_from_fresh() -> None:
    engine = Engine(Settings(words=10))
    first = await ask(engine, talk("a"))
    second = await ask(engine, talk("a"))
    assert first.text == "a1w1 a1w2 a1w3 a1w4 a1w5 a1w6 a1w7 a1w8. a1w9 a1w10."
    assert second.words[0] == "a2w1"


async def test_latencies_are_slept_before_the_first_word_and_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    await ask(Engine(Settings(words=3, first_token_latency="0.5", token_latency="0.1")), talk("a"))
    assert slept == [0.5, 0.1, 0.1]


async def test_every_third_request_fails_after_its_first_word() -> None:
    engine = Engine(Settings(fail_every=3))
    for _ in range(2):
        await ask(engine, talk("a"))
        await ask(engine, talk("a"))
        pieces = engine.generate(talk("a"))
        assert await anext(pieces)
        with pytest.raises(EngineError):
            await anext(pieces)


async def test_every_second_request_hangs() -> None:
    engine = Engine(Settings(hang_every=2))
    await ask(engine, talk("a"))
    hanging = asyncio.create_task(ask(engine, talk("a")))
    await asyncio.sleep(0.01)
    assert not hanging.done()
    hanging.cancel()
    await ask(engine, talk("a"))


TOOL = Tool("look_up")
CALLING = Settings(call_tool="look_up", call_arguments='{"city": "Paris"}')


async def test_the_tool_is_called_in_pieces_that_join() -> None:
    answer = await ask(Engine(CALLING), talk("a", tools=(TOOL,)))
    assert json.loads("".join(call.arguments for call in answer.calls)) == {"city": "Paris"}
    assert len({call.call_id for call in answer.calls}) == 1
    assert [call.complete for call in answer.calls] == [False, True]
    assert answer.done is not None
    assert (answer.done.reason, answer.done.usage.output_tokens) == (Reason.TOOL_CALLS, 1)


@pytest.mark.parametrize(
    "request_",
    [
        talk("a"),
        talk("a", tools=(Tool("other"),)),
        Request(messages=(user("a"), output("done")), tools=(TOOL,)),
        Request(messages=(user("a"),), tools=(TOOL,), tool_choice=Mode.NONE),
    ],
    ids=["not declared", "another declared", "it has answered", "forbidden"],
)
async def test_the_tool_is_not_called_where_it_should_not_be(request_: Request) -> None:
    answer = await ask(Engine(CALLING), request_)
    assert (answer.text, answer.calls) == ("I heard a.", [])


@pytest.mark.parametrize("wrong", [{"call_arguments": "[1]"}, {"call_arguments": "{"}, {"token_latency": "soon"}])
def test_wrong_settings_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)
