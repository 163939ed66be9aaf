"""The openai engine against a server that does what servers do."""

import asyncio
import io
import json
import logging
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bus.errors import EngineError, InvalidRequestError, JobError, OverloadedError
from bus.tasks import TaskHandler
from services.asr.engine import Request
from services.asr.engines import openai
from services.asr.service import Recognition
from services.upstream import RefusedError
from tests.services.asr.turns import Speaker
from tests.support.bus import serving
from tests.support.openai_stub import OpenAiStub, Reply, Then, openai_stub, refusal
from tests.support.sound import silence, tone

KEY = "sk-secret-canary"


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


async def heard(engine: openai.Engine, pcm: bytes, request: Request | None = None) -> str:
    stream = engine.stream(request or Request())
    try:
        for at in range(0, len(pcm), 640):
            await stream.accept(pcm[at : at + 640])
            assert await stream.partial() == ""
        return (await stream.finish()).text
    finally:
        stream.cancel()


async def test_a_turn_is_sent_as_wav_with_all_that_was_asked(stub: OpenAiStub) -> None:
    pcm = tone(440, 1.0)
    async with loaded(stub, api_key=KEY, model="good") as engine:
        assert await heard(engine, pcm, Request("de-AT", "Grüße", "better")) == "tone 440"
    (asked,) = stub.asked
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert {name: value.decode() for name, value in asked.form.items() if name != "file"} == {
        "model": "better",
        "language": "de",
        "prompt": "Grüße",
        "response_format": "json",
    }
    with wave.open(io.BytesIO(asked.form["file"])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        assert file.readframes(file.getnframes()) == pcm


async def test_what_a_request_leaves_open_the_settings_say(stub: OpenAiStub) -> None:
    async with loaded(stub, language="fr", prompt="names") as engine:
        await heard(engine, tone(440, 1.0))
    form = stub.asked[0].form
    assert (form["model"], form["language"], form["prompt"]) == (b"whisper-1", b"fr", b"names")


async def test_what_nobody_says_is_left_to_the_server(stub: OpenAiStub) -> None:
    async with loaded(stub) as engine:
        await heard(engine, tone(440, 1.0))
    assert set(stub.asked[0].form) == {"model", "response_format", "file"}


@pytest.mark.parametrize("pcm", [b"", silence(0.02), silence(1.0)])
async def test_silence_is_not_sent(stub: OpenAiStub, pcm: bytes) -> None:
    async with loaded(stub) as engine:
        assert await heard(engine, pcm) == ""
    assert not stub.asked


async def test_what_is_very_short_is_made_long_enough(stub: OpenAiStub) -> None:
    async with loaded(stub) as engine:
        await heard(engine, tone(440, 0.01))
    with wave.open(io.BytesIO(stub.asked[0].form["file"])) as file:
        assert file.getnframes() == 8000


async def test_eight_turns_at_once_do_not_mix(stub: OpenAiStub) -> None:
    hertz = range(400, 1200, 100)
    async with loaded(stub) as engine:
        texts = await asyncio.gather(*(heard(engine, tone(each, 1.0)) for each in hertz))
    assert texts == [f"tone {each}" for each in hertz]


async def test_cancelling_closes_the_connection(stub: OpenAiStub) -> None:
    stub.then(Reply([Then.STALL]))
    async with loaded(stub) as engine:
        stream = engine.stream(Request())
        await stream.accept(tone(440, 1.0))
        finishing = asyncio.ensure_future(stream.finish())
        assert await asyncio.to_thread(stub.heard)
        stream.cancel()
        with pytest.raises(EngineError, match="cancelled"):
            await finishing
        assert await asyncio.to_thread(stub.hung_up)
        stream.cancel()


async def test_a_cancelled_wait_closes_the_connection(stub: OpenAiStub) -> None:
    stub.then(Reply([b"{", Then.STALL]))
    async with loaded(stub) as engine:
        waiting = asyncio.ensure_future(heard(engine, tone(440, 1.0)))
        assert await asyncio.to_thread(stub.heard)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await asyncio.to_thread(stub.hung_up)


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        (refusal(400), InvalidRequestError, "answered 400$"),
        (refusal(401), RefusedError, "401: the key is refused$"),
        (refusal(404), RefusedError, "404$"),
        (refusal(429), OverloadedError, "429$"),
        (refusal(500), EngineError, "500$"),
        (Reply([Then.BREAK_OFF]), EngineError, "broke"),
        (Reply([b'{"text": "secret w', Then.BREAK_OFF]), EngineError, "broke"),
        (Reply([]), EngineError, "no transcript$"),
        (Reply([b"secret words"]), EngineError, "no transcript$"),
        (Reply([b'["secret words"]']), EngineError, "no transcript$"),
        (Reply([b'{"text": 5, "x": "secret words"}']), EngineError, "no transcript$"),
        (Reply([b"x" * 65_536] * 65), EngineError, "no end$"),
        (Reply([Then.STALL]), EngineError, r"within 0\.5 s$"),
        (Reply([b'{"text": ', Then.STALL]), EngineError, r"within 0\.5 s$"),
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
    timeout_s = 0.5 if Then.STALL in reply.parts else 20.0
    async with loaded(stub, api_key=KEY, answer_timeout_s=timeout_s) as engine:
        stub.then(reply)
        with pytest.raises(error, match=message) as raised:
            await heard(engine, tone(440, 1.0), Request(prompt="canary words"))
        assert type(raised.value) is error
        assert raised.value.retryable is (error in {EngineError, OverloadedError})
        assert len(stub.asked) == 1, "nothing is tried again"
        told = f"{raised.value}{caplog.text}"
        assert not any(secret in told for secret in (KEY, "secret w", "canary words"))


async def test_a_server_that_is_not_there_costs_a_warning_and_then_the_turn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = openai.Engine(openai.Settings(base_url="http://127.0.0.1:9/v1"))
    await engine.load()
    assert capsys.readouterr().out.count("the upstream server is not of use yet") == 1
    with pytest.raises(EngineError, match="cannot be reached"):
        await heard(engine, tone(440, 1.0))
    await engine.stop()


async def test_a_failed_turn_leaves_the_service_ready(stub: OpenAiStub) -> None:
    stub.then(refusal(500), Reply([json.dumps({"text": " Hello. "}).encode()]))
    engine = openai.Engine(openai.Settings(base_url=stub.base_url))
    async with serving(TaskHandler(Recognition("openai", engine)), engine="openai") as (gateway, service):
        for turn_id, body in (1, "error"), (2, "transcript"):
            Speaker(gateway, service, turn_id=turn_id).say(tone(440, 0.5), last=True, partials=True)
            frame = await gateway.next("error", "transcript", "partial_transcript")
            assert frame.WhichOneof("body") == body
        assert frame.transcript.text == "Hello."
