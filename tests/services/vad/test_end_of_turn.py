"""Advice through the whole service: a model that knows the answers, and pauses that end turns or do not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY

from bus.errors import ConfigurationError
from bus.frames import Header
from proto.v1 import speech_pb2 as pb
from services.vad.__main__ import build
from services.vad.end_of_turn.engines import scripted
from services.vad.engine import Floats
from services.vad.engines import energy
from services.vad.service import VadHandler
from services.vad.settings import VadSettings
from tests.support.bus import PATIENCE_S, FakeGateway, serving

W = 512
LOUD, SILENT = b"\x00\x20\x00\xe0" * 256, bytes(2 * W)


class Client:
    """A session that asks for advice after 64 ms of silence; silence ends its turns after 320 ms, or 960 if unsure."""

    def __init__(self, gateway: FakeGateway, service: str) -> None:
        self.gateway = gateway
        self._service = service
        self._at = 0
        endpointing = pb.Endpointing(
            prefix_padding_ms=32,
            silence_duration_ms=320,
            pause_ms=64,
            end_of_turn_threshold=0.5,
            unfinished_silence_ms=960,
        )
        gateway.send(service, self._header(), session_open=pb.SessionOpen(endpointing=endpointing, first_turn_id=1))

    def say(self, pcm: bytes) -> None:
        self.gateway.send(self._service, self._header(), audio=pb.Audio(pcm=pcm, at_sample=self._at))
        self._at += len(pcm) // 2

    async def stopped(self) -> pb.SpeechStopped:
        return (await self.gateway.next("speech_stopped")).speech_stopped

    def _header(self) -> Header:
        return Header(session_id="s1", next=self.gateway.address)


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("speech_vad_end_of_turn_total", {"outcome": outcome}) or 0.0


@asynccontextmanager
async def counting(outcome: str) -> AsyncIterator[None]:
    """Wait, after the block, until one more was counted."""
    before = counted(outcome)
    yield
    async with asyncio.timeout(PATIENCE_S):
        while counted(outcome) == before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


@asynccontextmanager
async def advised(script: str) -> AsyncIterator[Client]:
    settings = VadSettings(engine="energy", end_of_turn="scripted", end_of_turn_script=script)
    async with serving(build(energy.Engine(energy.Settings()), settings), engine="energy") as (gateway, service):
        yield Client(gateway, service)


async def test_a_finished_turn_ends_at_its_first_pause() -> None:
    async with advised("0.9") as client:
        client.say(LOUD * 5 + SILENT * 2)
        stopped = await client.stopped()
        assert stopped.at_sample == 7 * W
        speech = [frame.speech for body, frame in client.gateway.received if body == "speech"]
        last = speech[-1] if speech and speech[-1].last else (await client.gateway.next("speech")).speech
        assert last.last
        assert last.at_sample + len(last.pcm) // 2 == 7 * W


async def test_an_unfinished_turn_ends_at_the_hard_limit() -> None:
    async with advised("0.1") as client:
        async with counting("unfinished"):
            client.say(LOUD * 5 + SILENT * 2)
        client.say(SILENT * 40)
        assert (await client.stopped()).at_sample == 35 * W  # 30 windows of silence are 960 ms


async def test_who_goes_on_is_judged_again() -> None:
    async with advised("0.1,0.9") as client:
        async with counting("unfinished"):
            client.say(LOUD * 5 + SILENT * 2)
        client.say(LOUD * 5 + SILENT * 2)
        assert (await client.stopped()).at_sample == 14 * W
        assert [body for body in client.gateway.bodies() if body.startswith("speech_")] == [
            "speech_started",
            "speech_paused",
            "speech_resumed",
            "speech_paused",
            "speech_stopped",
        ]


async def test_a_model_that_fails_leaves_it_to_the_silence() -> None:
    async with advised("nan") as client:
        async with counting("failed"):
            client.say(LOUD * 5 + SILENT * 2)
        client.say(SILENT * 20)
        assert (await client.stopped()).at_sample == 15 * W


async def test_a_model_that_hangs_leaves_it_to_the_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(_: scripted.Engine, turns: Sequence[Floats]) -> list[float]:
        asyncio.run_coroutine_threadsafe(opened.wait(), loop).result(PATIENCE_S)
        return [0.9 for _ in turns]

    monkeypatch.setattr(scripted.Engine, "judge", hang)
    late, resumed = counted("late"), counted("resumed")
    async with advised("0.9") as client:
        client.say(LOUD * 5 + SILENT * 20)
        assert (await client.stopped()).at_sample == 15 * W
        assert counted("late") == late + 1
        client.say(LOUD * 5 + SILENT * 2 + LOUD * 2 + SILENT * 20)
        assert (await client.stopped()).at_sample == (25 + 5 + 2 + 2 + 10) * W
        assert (counted("late"), counted("resumed")) == (late + 2, resumed + 1)
        opened.set()


async def test_the_model_is_announced() -> None:
    async with advised("0.9") as client:
        announced = await client.gateway.ready()
        assert announced.capabilities.end_of_turn == "scripted"


async def test_without_a_model_silence_alone_ends_turns() -> None:
    handler = build(energy.Engine(energy.Settings()), VadSettings(engine="energy"))
    async with serving(handler, engine="energy") as (gateway, service):
        assert (await gateway.ready()).capabilities.end_of_turn == ""
        client = Client(gateway, service)
        client.say(LOUD * 5 + SILENT * 20)
        assert (await client.stopped()).at_sample == 15 * W


async def test_a_model_that_cannot_be_loaded_keeps_the_service_from_starting() -> None:
    settings = VadSettings(engine="energy", end_of_turn="smart-turn", end_of_turn_model="/nowhere.onnx")
    handler = build(energy.Engine(energy.Settings()), settings)
    assert isinstance(handler, VadHandler)
    with pytest.raises(ConfigurationError, match="smart-turn: "):
        await handler.load()
    await handler.stop()
