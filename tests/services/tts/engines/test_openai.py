"""The openai engine against a server that does what servers do."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from bus.errors import EngineError, InvalidRequestError, JobError, OverloadedError
from bus.frames import Header
from bus.tasks import TaskHandler
from proto.v1 import speech_pb2 as pb
from services.tts.engines import openai
from services.tts.service import Synthesis
from services.tts.settings import Speaking
from services.upstream import RefusedError
from tests.support.bus import serving
from tests.support.openai_stub import OpenAiStub, Reply, Then, openai_stub, refusal, tone_of, wav

KEY = "sk-secret-canary"
TEXT = "Hello there."
PCM = tone_of(TEXT)


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAiStub]:
    with openai_stub() as running:
        yield running


@pytest.fixture
def stub(server: OpenAiStub, monkeypatch: pytest.MonkeyPatch) -> OpenAiStub:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return server


@contextmanager
def loaded(stub: OpenAiStub, **settings: Any) -> Iterator[openai.Engine]:
    engine = openai.Engine(openai.Settings(base_url=stub.base_url, **settings))
    engine.load()
    stub.forget()
    try:
        yield engine
    finally:
        engine.stop()


def said(engine: openai.Engine, text: str = TEXT, voice: str = "", language: str = "", speed: float = 1.0) -> bytes:
    return b"".join(engine.synthesize(text, voice, language, speed))


def sends(*parts: bytes | Then, kind: str = "audio/pcm") -> Reply:
    return Reply(parts, kind=kind)


def test_the_request_holds_all_that_was_asked(stub: OpenAiStub) -> None:
    with loaded(stub, api_key=KEY, model="good", instructions="Be calm.") as engine:
        said(engine, voice="nova", language="de", speed=1.5)
    (asked,) = stub.asked
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.json == {
        "model": "good",
        "input": TEXT,
        "voice": "nova",
        "response_format": "pcm",
        "speed": 1.5,
        "instructions": "Be calm.",
    }


def test_what_nobody_asks_for_is_not_sent(stub: OpenAiStub) -> None:
    with loaded(stub) as engine:
        assert said(engine) == PCM
    assert set(stub.asked[0].json) == {"model", "input", "voice", "response_format"}


def test_what_cannot_be_said_is_not_sent(stub: OpenAiStub) -> None:
    with loaded(stub) as engine:
        assert said(engine, "... \N{GRINNING FACE}") == b""
    assert not stub.asked


def test_audio_comes_while_the_server_still_speaks(stub: OpenAiStub) -> None:
    stub.then(sends(PCM[:4000], Then.STALL))
    with loaded(stub) as engine, closing(engine.synthesize(TEXT, "", "", 1.0)) as pieces:
        heard = b""
        while len(heard) < 4000:
            heard += next(pieces)
        assert heard == PCM[:4000]


def test_a_wav_file_of_the_same_rate_is_understood_however_it_is_cut(stub: OpenAiStub) -> None:
    file = wav(PCM)
    with loaded(stub) as engine:
        for cut in (1, 7, 44, 45, 4000):
            head = [file[at : at + cut] for at in range(0, 80, cut)]
            stub.then(sends(*head, file[len(b"".join(head)) :], kind="audio/wav"))
            assert said(engine) == PCM


def test_half_a_sample_at_the_end_is_left_out(stub: OpenAiStub) -> None:
    stub.then(sends(b"\1\2\3", b"\4\5"))
    with loaded(stub) as engine:
        assert said(engine) == b"\1\2\3\4"


def test_only_the_voices_that_are_named_may_be_asked_for(stub: OpenAiStub) -> None:
    with loaded(stub, voices="alloy, nova") as engine:
        assert engine.voices == ["alloy", "nova"]
        with pytest.raises(InvalidRequestError, match="echo"):
            said(engine, voice="echo")


# -- closing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"", PCM[:4000]])
def test_closing_the_generator_closes_the_connection(stub: OpenAiStub, before: bytes) -> None:
    stub.then(sends(*([before] if before else []), Then.STALL))
    with loaded(stub) as engine:
        pieces = engine.synthesize(TEXT, "", "", 1.0)
        next(pieces)  # nothing, or the first audio: it comes either way
        assert stub.heard()
        pieces.close()
        assert stub.hung_up()


def test_a_reader_that_falls_behind_is_no_fault_of_the_servers(stub: OpenAiStub) -> None:
    pcm = PCM * 10
    stub.then(sends(pcm))
    with loaded(stub, audio_timeout_s=0.1) as engine, closing(engine.synthesize(TEXT, "", "", 1.0)) as pieces:
        heard = next(pieces)
        time.sleep(0.3)  # longer than the server may be silent
        assert heard + b"".join(pieces) == pcm


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        (refusal(400), InvalidRequestError, "answered 400$"),
        (refusal(401), RefusedError, "401: the key is refused$"),
        (refusal(404), RefusedError, "404$"),
        (refusal(429), OverloadedError, "429$"),
        (refusal(500), EngineError, "500$"),
        (sends(Then.BREAK_OFF), EngineError, "broke"),
        (sends(PCM[:4000], Then.BREAK_OFF), EngineError, "broke"),
        (sends(), EngineError, "no audio$"),
        (sends(b'{"error": "secret words"}', kind="application/json"), EngineError, "else than pcm$"),
        (sends(b"<html>secret words", kind="text/html; charset=utf-8"), EngineError, "else than pcm$"),
        (sends(b"....", kind="audio/mpeg"), EngineError, "else than pcm$"),
        (sends(b"ID3....."), EngineError, "compressed"),
        (sends(wav(PCM, 22_050)), EngineError, "22050 Hz: set --pcm_rate 22050$"),
        (sends(wav(PCM, channels=2)), EngineError, "16-bit mono"),
        (sends(b"RIFF" + bytes(70_000)), EngineError, "without samples"),
        (sends(Then.STALL), EngineError, "in time$"),
        (sends(PCM[:4000], Then.STALL), EngineError, "in time$"),
    ],
)
def test_every_failure_has_its_type_and_tells_no_secret(
    stub: OpenAiStub, caplog: pytest.LogCaptureFixture, reply: Reply, error: type[JobError], message: str
) -> None:
    caplog.set_level(logging.DEBUG)
    limits = {"first_audio_timeout_s": 0.3, "audio_timeout_s": 0.3} if Then.STALL in reply.parts else {}
    with loaded(stub, api_key=KEY, **limits) as engine:
        stub.then(reply)
        with pytest.raises(error, match=message) as raised:
            said(engine, "canary words")
        assert type(raised.value) is error
        assert raised.value.retryable is (error in {EngineError, OverloadedError})
        assert len(stub.asked) == 1, "nothing is tried again"
        told = f"{raised.value}{caplog.text}"
        assert not any(secret in told for secret in (KEY, "secret words", "canary words"))
        assert said(engine) == PCM


def test_a_server_that_is_not_there_costs_a_warning_and_then_the_clause(capsys: pytest.CaptureFixture[str]) -> None:
    engine = openai.Engine(openai.Settings(base_url="http://127.0.0.1:9/v1"))
    engine.load()
    assert capsys.readouterr().out.count("the upstream server is not of use yet") == 1
    with pytest.raises(EngineError, match="cannot be reached"):
        said(engine)
    engine.stop()


def test_no_thread_is_left_behind(stub: OpenAiStub) -> None:
    before = set(threading.enumerate())
    with loaded(stub) as engine:
        said(engine)
        left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(20)
        assert not thread.is_alive()


async def test_a_cancel_closes_the_connection_and_the_service_stays_ready(stub: OpenAiStub) -> None:
    engine = openai.Engine(openai.Settings(base_url=stub.base_url))
    stub.forget()
    stub.then(sends(Then.STALL), refusal(500))
    async with serving(TaskHandler(Synthesis(engine, Speaking(), "openai")), engine="openai") as (gateway, service):

        def speak(response_id: str) -> None:
            header = Header(session_id="s1", response_id=response_id)
            gateway.send(service, header, synthesis_request=pb.SynthesisRequest(text=TEXT, granted_ms=9000))

        speak("r1")
        assert await asyncio.to_thread(stub.heard)
        gateway.send(service, Header(session_id="s1", response_id="r1", generation=1), cancel=pb.Cancel())
        assert await asyncio.to_thread(stub.hung_up)
        speak("r2")
        assert (await gateway.next("error", "synthesis_done")).error.retryable
        speak("r3")
        assert (await gateway.next("error", "synthesis_done")).WhichOneof("body") == "synthesis_done"
    engine.stop()
