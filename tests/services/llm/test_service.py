"""The LLM service from outside: frames in, frames out, to the gateway and to the TTS."""

# ruff: noqa: S106 - these tokens are words

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from bus.frames import Frame, Header, stamp
from bus.tasks import TaskHandler
from proto.v1 import speech_pb2 as pb
from services.llm.engine import Abilities, Engine, Piece, Request, Text
from services.llm.engines import responder, scripted
from services.llm.service import Generation
from tests.support.bus import FakeGateway, ipc_folder, serving


class Endless:
    """Counts for ever; notes when its stream is closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def load(self) -> Abilities:
        return Abilities(model="counter", languages=("en",), tools=True)

    async def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        number = 0
        try:
            while True:
                yield Text(f" {request.instructions}{number}")
                number += 1
                await asyncio.sleep(0.001)
        finally:
            self.closed.set()

    async def stop(self) -> None:
        pass


class BreaksOff(Endless):
    """Says one word and ends without an end."""

    async def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        yield Text(request.instructions)


@dataclass
class House:
    """A service between a gateway and a TTS."""

    gateway: FakeGateway
    tts: FakeGateway
    service: str

    def ask(
        self, text: str = "", *, session_id: str = "s1", response_id: str = "r1", generation: int = 2, **request: Any
    ) -> None:
        messages = [pb.Message(author=pb.Message.USER, parts=[pb.Part(text=text)])] if text else []
        header = Header(session_id=session_id, response_id=response_id, turn_id=3, generation=generation)
        header.next = self.tts.address
        header.stamps.append(stamp(pb.Stamp.ASR_FINAL))
        self.gateway.send(self.service, header, generation_request=pb.GenerationRequest(messages=messages, **request))

    def cancel(self, response_id: str = "r1") -> None:
        header = Header(session_id="s1", response_id=response_id, generation=3)
        self.gateway.send(self.service, header, cancel=pb.Cancel())


@asynccontextmanager
async def house(engine: Engine) -> AsyncIterator[House]:
    with ipc_folder() as folder:
        tts = FakeGateway(Path(folder))
        try:
            async with serving(TaskHandler(Generation("tested", engine)), engine="tested") as (gateway, service):
                yield House(gateway, tts, service)
        finally:
            tts.close()


async def until_done(inbox: FakeGateway) -> list[Frame]:
    """Return all frames of one generation, its end last."""
    frames = [await inbox.next()]
    while frames[-1].WhichOneof("body") != "generation_done":
        frames.append(await inbox.next())
    return frames


def text_of(frames: list[Frame]) -> str:
    return "".join(frame.text_delta.text for frame in frames)


def stages(frame: Frame) -> list[int]:
    return [mark.stage for mark in frame.header.stamps]


async def test_gateway_and_tts_get_the_same_text_in_order_and_its_end() -> None:
    async with house(scripted.Engine(scripted.Settings(words=12))) as home:
        home.ask("hello")
        for inbox, reply_to in (home.gateway, ""), (home.tts, home.gateway.address):
            *deltas, end = await until_done(inbox)
            assert text_of(deltas) == "a1w1 a1w2 a1w3 a1w4 a1w5 a1w6 a1w7 a1w8. a1w9 a1w10 a1w11 a1w12."
            assert [delta.text_delta.seq for delta in deltas] == list(range(12))
            assert end.generation_done.deltas == 12
            assert end.generation_done.reason == pb.GenerationDone.STOP
            assert end.generation_done.usage == pb.Usage(input_tokens=1, output_tokens=12)
            heads = {
                (f.header.session_id, f.header.response_id, f.header.turn_id, f.header.generation, f.header.reply_to)
                for f in (*deltas, end)
            }
            assert heads == {("s1", "r1", 3, 2, reply_to)}


async def test_the_first_delta_carries_the_stamps_of_the_waterfall_and_no_other_does() -> None:
    async with house(scripted.Engine(scripted.Settings())) as home:
        home.ask("hello")
        for inbox in home.gateway, home.tts:
            first, *others = await until_done(inbox)
            assert stages(first) == [pb.Stamp.ASR_FINAL, pb.Stamp.LLM_STARTED, pb.Stamp.LLM_FIRST_TOKEN]
            times = [mark.unix_us for mark in first.header.stamps]
            assert times == sorted(times)
            assert all(stages(frame) == [] for frame in others)


async def test_without_a_tts_the_gateway_alone_is_answered() -> None:
    async with house(scripted.Engine(scripted.Settings())) as home:
        home.tts.address = ""
        home.ask("hello")
        assert text_of(await until_done(home.gateway)) == "I heard hello."
        assert home.tts.received == []


async def test_a_tool_call_goes_to_the_gateway_and_only_its_end_to_the_tts() -> None:
    settings = scripted.Settings(call_tool="look_up", call_arguments='{"q": "x"}')
    async with house(scripted.Engine(settings)) as home:
        home.ask("hello", tools=[pb.Tool(name="look_up")])
        first, second, end = await until_done(home.gateway)
        assert first.tool_call.arguments_json + second.tool_call.arguments_json == '{"q": "x"}'
        assert (first.tool_call.name, first.tool_call.complete, second.tool_call.complete) == ("look_up", False, True)
        assert stages(first)[-1] == pb.Stamp.LLM_FIRST_TOKEN
        assert end.generation_done.reason == pb.GenerationDone.TOOL_CALLS
        (end,) = await until_done(home.tts)
        assert end.generation_done.deltas == 0


async def test_a_cancel_closes_the_stream_and_nothing_follows() -> None:
    engine = Endless()
    async with house(engine) as home:
        home.ask(instructions="old")
        await home.tts.next("text_delta")
        home.cancel()
        async with asyncio.timeout(20):
            await engine.closed.wait()
        # A new answer takes the same two ways: what was sent before it has arrived when it does.
        home.ask(instructions="new", response_id="r2", generation=3)
        for inbox in home.gateway, home.tts:
            while (await inbox.next()).header.response_id != "r2":
                pass
            for _ in range(5):
                assert (await inbox.next()).header.response_id == "r2"
        assert "generation_done" not in home.gateway.bodies() + home.tts.bodies()
        assert "error" not in home.gateway.bodies()


async def test_a_second_request_of_the_same_response_is_ignored() -> None:
    async with house(scripted.Engine(scripted.Settings(words=30, token_latency="0.001"))) as home:
        home.ask("hello")
        home.ask("hello")
        frames = await until_done(home.gateway)
        assert len(frames) == 31
        home.ask("next", response_id="r2")
        assert (await home.gateway.next()).header.response_id == "r2"


async def test_two_sessions_at_once_hear_their_own_answers() -> None:
    async with house(scripted.Engine(scripted.Settings(reply="{text} {text} {text}", token_latency="0.001"))) as home:
        for name in "robin", "raven":
            home.ask(name, session_id=name)
        for _ in range(2):
            await home.gateway.next("generation_done")
        for name in "robin", "raven":
            own = [frame for _, frame in home.gateway.received if frame.header.session_id == name]
            assert text_of(own) == f"{name} {name} {name}"


async def test_the_limit_of_tokens_is_kept_and_named() -> None:
    async with house(responder.Engine(responder.Settings())) as home:
        home.ask("what can you do", max_output_tokens=4)
        frames = await until_done(home.gateway)
        assert text_of(frames) == "I can tell the"
        assert frames[-1].generation_done.reason == pb.GenerationDone.MAX_OUTPUT_TOKENS


async def test_a_bad_tool_schema_is_an_invalid_request_and_the_next_is_served() -> None:
    async with house(responder.Engine(responder.Settings())) as home:
        home.ask("hello", tools=[pb.Tool(name="x", parameters_json="{")])
        error = (await home.gateway.next()).error
        assert (error.code, error.retryable) == (pb.Error.INVALID_REQUEST, False)
        home.ask("hello", response_id="r2")
        assert text_of(await until_done(home.gateway)).startswith("Hello")


async def test_an_engine_that_fails_in_mid_answer_is_told_to_the_gateway() -> None:
    async with house(scripted.Engine(scripted.Settings(fail_every=1))) as home:
        home.ask("hello")
        assert (await home.gateway.next("error")).error.code == pb.Error.ENGINE_FAILED
        assert home.gateway.bodies() == ["text_delta", "error"]


async def test_a_stream_without_an_end_is_a_failure() -> None:
    async with house(BreaksOff()) as home:
        home.ask(instructions="half")
        assert "broke off" in (await home.gateway.next("error")).error.message


async def test_an_engine_that_hangs_is_ended_by_the_deadline() -> None:
    async with house(scripted.Engine(scripted.Settings(hang_every=1))) as home:
        header = Header(session_id="s1", response_id="r1", deadline_ms=50)
        home.gateway.send(home.service, header, generation_request=pb.GenerationRequest())
        assert (await home.gateway.next("error")).error.code == pb.Error.DEADLINE_EXCEEDED


async def test_the_engine_is_announced_with_what_it_can_do() -> None:
    async with house(Endless()) as home:
        said = await home.gateway.ready()
        assert (said.role, said.engine, said.model) == (pb.LLM, "tested", "counter")
        assert said.capabilities == pb.Capabilities(languages=["en"], streaming=True, tools=True)


@pytest.mark.parametrize("reason", ["stop", "failed"])
async def test_generations_are_counted_by_reason(reason: str) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("speech_llm_generations_total", {"reason": reason}) or 0.0

    before = counted()
    async with house(scripted.Engine(scripted.Settings(fail_every=int(reason == "failed")))) as home:
        home.ask("hello")
        await home.gateway.next("generation_done", "error")
    assert counted() == before + 1
