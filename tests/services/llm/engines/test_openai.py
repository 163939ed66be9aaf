"""The openai engine against a server that does what servers do."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bus.errors import ConfigurationError, EngineError, InvalidRequestError, JobError, OverloadedError
from bus.tasks import TaskHandler
from proto.v1 import speech_pb2 as pb
from services.llm.engine import Author, Call, Image, Message, Mode, Reason, Request, Text, Tool, Usage
from services.llm.engines import openai
from services.llm.service import Generation
from services.upstream import RefusedError
from tests.services.llm.asking import Answer, ask, assistant, talk, user
from tests.support.bus import serving
from tests.support.openai_stub import OpenAiStub, Reply, Then, delta, events, openai_stub, refusal, says

KEY = "sk-secret-canary"
WEATHER = Tool("weather", "tells the weather", {"type": "object", "properties": {"city": {"type": "string"}}})


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAiStub]:
    with openai_stub() as running:
        yield running


@pytest.fixture
def stub(server: OpenAiStub, monkeypatch: pytest.MonkeyPatch) -> OpenAiStub:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return server


@asynccontextmanager
async def loaded(stub: OpenAiStub, **settings: Any) -> AsyncIterator[openai.Engine]:
    engine = openai.Engine(openai.Settings(base_url=stub.base_url, **settings))
    try:
        await engine.load()
        stub.forget()
        yield engine
    finally:
        await engine.stop()


async def answered(stub: OpenAiStub, reply: Reply, request: Request | None = None, **settings: Any) -> Answer:
    stub.then(reply)
    async with loaded(stub, **settings) as engine:
        return await ask(engine, request or talk("hello"))


async def test_the_request_holds_all_that_was_asked(stub: OpenAiStub) -> None:
    call = Call("c1", "weather", '{"city": "Rome"}')
    request = Request(
        instructions="Be kind.",
        messages=(
            Message(Author.USER, ("What is this?", Image("data:image/png;base64,AA=="))),
            assistant("One moment.", call),
            Message(Author.TOOL, ("sunny",), call_id="c1"),
        ),
        tools=(WEATHER,),
        tool_choice=Mode.NAMED,
        tool_name="weather",
        temperature=0.3,
        max_output_tokens=50,
        model="better",
    )
    async with loaded(stub, api_key=KEY, model="good", extra_body='{"seed": 1}') as engine:
        await ask(engine, request)
    (asked,) = stub.asked
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.json == {
        "model": "better",
        "stream": True,
        "stream_options": {"include_usage": True},
        "seed": 1,
        "temperature": 0.3,
        "max_tokens": 50,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "tells the weather",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "messages": [
            {"role": "system", "content": "Be kind."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                ],
            },
            {
                "role": "assistant",
                "content": "One moment.",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        ],
    }


async def test_calls_without_output_and_outputs_without_call_are_mended(stub: OpenAiStub) -> None:
    messages = (
        Message(Author.TOOL, ("lost",), call_id="gone"),
        assistant("", Call("a", "weather", ""), Call("b", "weather", "{}")),
        user("and now?"),
        Message(Author.TOOL, ("rain",), call_id="b"),
    )
    async with loaded(stub) as engine:
        await ask(engine, Request(messages=messages))
    written = stub.asked[0].json["messages"]
    assert [message["role"] for message in written] == ["user", "assistant", "tool", "tool", "user"]
    assert [message["content"] for message in written] == ["lost", None, "no result yet", "rain", "and now?"]
    assert written[1]["tool_calls"][0]["function"]["arguments"] == "{}"


async def test_no_model_named_means_the_first_that_the_server_lists(stub: OpenAiStub) -> None:
    async with loaded(stub) as engine:
        await ask(engine, talk("hello"))
    assert stub.asked[0].json["model"] == "stub"


async def test_usage_is_counted(stub: OpenAiStub) -> None:
    async with loaded(stub) as engine:
        answer = await ask(engine, talk("hello"))
    assert answer.text == "I heard hello, and that is all of it."
    assert answer.done is not None
    assert answer.done.usage == Usage(7, 9, 3)


async def test_a_server_that_refuses_to_count_is_asked_without_from_then_on(stub: OpenAiStub) -> None:
    stub.then(refusal(400, message="extra field stream_options"))
    async with loaded(stub) as engine:
        for _ in range(2):
            answer = await ask(engine, talk("hello"))
            assert answer.done is not None
            assert answer.done.usage == Usage()
    assert ["stream_options" in asked.json for asked in stub.asked] == [True, False, False]


async def test_a_server_that_wants_the_newer_limit_gets_it(stub: OpenAiStub) -> None:
    stub.then(refusal(400, message="max_tokens is not supported, use max_completion_tokens"), says("Hi."))
    async with loaded(stub) as engine:
        await ask(engine, Request(messages=(user("hello"),), max_output_tokens=9))
    assert [asked.json.get("max_tokens") for asked in stub.asked] == [9, None]
    assert stub.asked[1].json["max_completion_tokens"] == 9


async def test_a_refusal_that_only_quotes_the_request_is_not_remembered(stub: OpenAiStub) -> None:
    stub.then(refusal(422, message="bad: stream_options ..."), refusal(422, message="bad: ..."))
    async with loaded(stub) as engine:
        with pytest.raises(InvalidRequestError):
            await ask(engine, talk("hello"))
        await ask(engine, talk("hello"))
    assert ["stream_options" in asked.json for asked in stub.asked] == [True, False, True]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", Reason.STOP),
        ("length", Reason.MAX_OUTPUT_TOKENS),
        ("content_filter", Reason.CONTENT_FILTER),
        ("tool_calls", Reason.STOP),  # without a call it is none
        ("eos_token", Reason.STOP),
    ],
)
async def test_reasons_are_told(stub: OpenAiStub, finish: str, reason: Reason) -> None:
    answer = await answered(stub, says("Well.", finish=finish))
    assert answer.done is not None
    assert answer.done.reason is reason


async def test_the_end_of_the_stream_is_an_end_even_without_a_reason(stub: OpenAiStub) -> None:
    answer = await answered(stub, Reply(events(delta(content="Well."))))
    assert answer.text == "Well."


async def test_an_answer_whose_usage_never_comes_ends(stub: OpenAiStub) -> None:
    answer = await answered(stub, Reply([*events(delta("stop", content="Well."), done=False), Then.STALL]))
    assert answer.text == "Well."


def piece(index: int | None, call_id: str | None = None, name: str | None = None, arguments: str = "") -> Any:
    call: dict[str, Any] = {"function": {"name": name, "arguments": arguments}, "type": "function"}
    if index is not None:
        call["index"] = index
    if call_id is not None:
        call["id"] = call_id
    return delta(content=None, tool_calls=[call])


def joined(answer: Answer) -> list[tuple[str, str, str, int]]:
    """Return each call, put together as the gateway does."""
    calls: dict[str, tuple[str, str, str, int]] = {}
    for call in answer.calls:
        before = calls.get(call.call_id, ("", "", "", 0))[2]
        calls[call.call_id] = (call.call_id, call.name, before + call.arguments, call.index)
    assert [call.call_id for call in answer.calls if call.complete] == list(calls)
    return list(calls.values())


PARALLEL = [
    piece(0, "a", "weather"),
    piece(0, arguments='{"ci'),
    piece(0, arguments='ty": 1}'),
    piece(1, "b", "time"),
    piece(1, arguments="{}"),
]
OLLAMA = [piece(0, "a", "weather", '{"city": 1}'), piece(0, "b", "time", "{}")]
NO_INDEX = [
    piece(None, "a", "weather", '{"city"'),
    piece(None, None, None, ": 1}"),
    piece(None, "b", "time"),
]
REPEATED = [piece(0, "a", "weather", '{"city"'), piece(0, "a", "weather", ": 1}"), piece(1, "b", "time", "{}")]


@pytest.mark.parametrize("chunks", [PARALLEL, OLLAMA, NO_INDEX, REPEATED])
async def test_parallel_calls_are_streamed_however_they_are_marked(stub: OpenAiStub, chunks: list[Any]) -> None:
    answer = await answered(stub, Reply(events(*chunks, delta("stop"))), talk("weather?", tools=(WEATHER,)))
    assert [(*call[:2], json.loads(call[2]), call[3]) for call in joined(answer)] == [
        ("a", "weather", {"city": 1}, 0),
        ("b", "time", {}, 1),
    ]
    assert answer.done is not None
    assert answer.done.reason is Reason.TOOL_CALLS


async def test_arguments_come_as_they_are_written(stub: OpenAiStub) -> None:
    answer = await answered(stub, Reply(events(*PARALLEL, delta("tool_calls"))))
    assert [call.arguments for call in answer.calls if call.call_id == "a"] == ["", '{"ci', 'ty": 1}', ""]


async def test_a_call_cut_at_the_limit_is_not_complete(stub: OpenAiStub) -> None:
    answer = await answered(stub, Reply(events(*PARALLEL[:2], delta("length"))))
    assert not any(call.complete for call in answer.calls)
    assert answer.done is not None
    assert answer.done.reason is Reason.MAX_OUTPUT_TOKENS


async def test_calls_without_ids_get_some(stub: OpenAiStub) -> None:
    answer = await answered(stub, Reply(events(piece(0, None, "weather"), piece(1, None, "time"), delta("stop"))))
    assert len({call[0] for call in joined(answer)}) == 2


async def test_thoughts_are_not_spoken(stub: OpenAiStub) -> None:
    text = "<think>Hm, <b>.</think>\n\nIt is < five. <thinking>Sure?</thinking> Yes."
    chunks = [delta(reasoning_content="secret"), delta(reasoning="secret"), *(delta(content=letter) for letter in text)]
    answer = await answered(stub, Reply(events(*chunks, delta("stop"))))
    assert answer.text == "It is < five. Yes."


async def test_a_thought_that_the_prompt_opened_is_not_spoken(stub: OpenAiStub) -> None:
    answer = await answered(stub, says("Hm.", " Hm.</th", "ink> Five.", " <thi"), thinks_first=True)
    assert answer.text == "Five. <thi"


@pytest.mark.parametrize("cut", range(1, 40, 3))
async def test_events_may_be_cut_anywhere(stub: OpenAiStub, cut: int) -> None:
    stream = b": ping\r\n\r\nevent: message\r\n" + b"".join(events(delta(content="Gr\u00fc\u2028\u00dfe")))
    stream = stream.replace(b"\\u2028", "\u2028".encode()).replace(b"\n", b"\r\n")
    answer = await answered(stub, Reply([stream[at : at + cut] for at in range(0, len(stream), cut)]))
    assert answer.text == "Gr\u00fc\u2028\u00dfe"


# -- closing ----------------------------------------------------------------------------------------------------------


async def test_closing_the_stream_closes_the_connection(stub: OpenAiStub) -> None:
    stub.then(Reply([*events(delta(content="One"), done=False), Then.STALL]))
    async with loaded(stub) as engine:
        async with aclosing(engine.generate(talk("count"))) as pieces:
            assert await anext(pieces) == Text("One")
        assert await asyncio.to_thread(stub.hung_up)


@pytest.mark.parametrize("parts", [[Then.STALL], events(delta(role="assistant"), done=False)])
async def test_cancelling_the_wait_for_the_first_token_closes_the_connection(
    stub: OpenAiStub, parts: list[bytes | Then]
) -> None:
    stub.then(Reply([*parts, Then.STALL]))
    async with loaded(stub) as engine:
        pieces = engine.generate(talk("count"))
        waiting = asyncio.ensure_future(anext(pieces))
        assert await asyncio.to_thread(stub.heard)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await asyncio.to_thread(stub.hung_up)
        assert [piece async for piece in pieces] == []
    assert len(stub.asked) == 1


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        (refusal(400), InvalidRequestError, "answered 400$"),
        (refusal(400, "context_length_exceeded"), InvalidRequestError, r"400 \(context_length_exceeded\)$"),
        (refusal(401, "invalid_api_key"), RefusedError, r"401 \(invalid_api_key\): the key is refused$"),
        (refusal(403), RefusedError, "403: the key is refused$"),
        (refusal(404), RefusedError, "404$"),
        (refusal(404, "model_not_found"), RefusedError, "model_not_found"),
        (refusal(307), RefusedError, "307$"),
        (refusal(429, "rate_limit_exceeded"), OverloadedError, "429"),
        (refusal(429, "insufficient_quota"), RefusedError, "insufficient_quota"),
        (refusal(500), EngineError, "500$"),
        (refusal(503, "secret words"), EngineError, "503$"),
        (Reply([b"<html>secret words" * 9999], 502, "text/html"), EngineError, "502$"),
        (Reply([Then.BREAK_OFF]), EngineError, "the connection .* broke"),
        (Reply([b"secret words"]), EngineError, "broke off"),
        (Reply([b"data: {secret words\n\n"]), EngineError, "no chunk"),
        (Reply([b"data: [1]\n\n"]), EngineError, "no chunk"),
        (Reply([b'data: "secret words"\n\n']), EngineError, "no chunk"),
        (Reply([b'data: {"choices": "secret words"}\n\n']), EngineError, "no chunk"),
        (Reply([b'data: {"choices": [{"delta": {"content": 5}}]}\n\n']), EngineError, "no chunk"),
        (Reply([b"data: \xff\xfe\n\n"]), EngineError, "no chunk"),
        (Reply([b"x" * 65_536] * 17), EngineError, "without end"),
        (Reply([b'data: {"error": {"message": "secret words"}}\n\n']), EngineError, "mid-answer$"),
        (Reply([b'data: {"error": "secret words"}\n\n']), EngineError, "mid-answer$"),
        (Reply(events(delta(content="Well"), done=False)), EngineError, "broke off"),
        (Reply([*events(delta(content="Well"), done=False), Then.BREAK_OFF]), EngineError, "broke"),
        (Reply(events(piece(0, "a"), delta("tool_calls"))), EngineError, "without a name"),
    ],
)
async def test_every_failure_has_its_type_and_tells_no_secret(
    stub: OpenAiStub,
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
    error: type[JobError],
    message: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with loaded(stub, api_key=KEY) as engine:
        stub.then(reply)
        with pytest.raises(error, match=message) as raised:
            await ask(engine, talk("canary words"))
        assert type(raised.value) is error
        assert raised.value.retryable is (error in {EngineError, OverloadedError})
        assert len(stub.asked) == 1, "nothing is tried again"
        told = f"{raised.value}{caplog.text}"
        assert not any(secret in told for secret in (KEY, "secret words", "canary words"))
        assert (await ask(engine, talk("again"))).text


async def test_no_token_in_time_is_an_error_whatever_keeps_the_line_busy(stub: OpenAiStub) -> None:
    stub.then(Reply([b": ping\n\n", *events(delta(role="assistant", content=""), done=False), Then.STALL]))
    async with loaded(stub, first_token_timeout_s=0.2) as engine:
        with pytest.raises(EngineError, match=r"no token for 0\.2 s"):
            await ask(engine, talk("hello"))
    assert await asyncio.to_thread(stub.hung_up)


async def test_no_next_token_in_time_is_an_error(stub: OpenAiStub) -> None:
    stub.then(Reply([*events(delta(content="Well"), done=False), Then.STALL]))
    async with loaded(stub, token_timeout_s=0.2) as engine:
        with pytest.raises(EngineError, match=r"nothing more for 0\.2 s"):
            await ask(engine, talk("hello"))
    assert await asyncio.to_thread(stub.hung_up)


async def test_a_server_that_is_not_there_costs_a_warning_and_then_an_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = openai.Engine(openai.Settings(base_url="http://127.0.0.1:9/v1", model="m"))
    await engine.load()
    assert capsys.readouterr().out.count("the upstream server is not of use yet") == 1
    with pytest.raises(EngineError, match="cannot be reached") as raised:
        await ask(engine, talk("hello"))
    assert raised.value.retryable
    await engine.stop()


async def test_a_number_that_json_lacks_is_refused(stub: OpenAiStub) -> None:
    async with loaded(stub) as engine:
        with pytest.raises(InvalidRequestError, match="number"):
            await ask(engine, talk("hi", tools=(Tool("t", "", {"maximum": float("nan")}),)))
        await ask(engine, talk("hi", tools=(Tool("t", "\ud800", {}),)))


async def test_the_key_comes_from_a_file_or_the_environment(
    stub: OpenAiStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    (tmp_path / "key").write_text("sk-file\n", encoding="utf-8")
    for settings in ({"api_key_file": str(tmp_path / "key")}, {}):
        async with loaded(stub, **settings) as engine:
            await ask(engine, talk("hello"))
            expected = "Bearer sk-file" if settings else "Bearer sk-environment"
            assert stub.asked[0].headers["authorization"] == expected


@pytest.mark.parametrize("content", [None, "", "sk-1\nsk-2", "schl\u00fcssel"])
async def test_a_key_that_cannot_be_read_or_sent_is_told_at_once(
    stub: OpenAiStub, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="key"):
        async with loaded(stub, api_key_file=str(tmp_path / "key")):
            pass


async def test_a_failed_answer_leaves_the_service_ready(stub: OpenAiStub) -> None:
    engine = openai.Engine(openai.Settings(base_url=stub.base_url))
    async with serving(TaskHandler(Generation("openai", engine)), engine="openai") as (gateway, service):
        stub.then(refusal(401), Reply([Then.BREAK_OFF]))
        for number, answer in enumerate(["error", "error", "generation_done"]):
            header = pb.Header(session_id="s1", response_id=f"r{number}")
            said = pb.Message(author=pb.Message.USER, parts=[pb.Part(text="hello")])
            gateway.send(service, header, generation_request=pb.GenerationRequest(messages=[said]))
            frame = await gateway.next("error", "generation_done")
            assert frame.WhichOneof("body") == answer
            assert frame.error.retryable is (number == 1)
