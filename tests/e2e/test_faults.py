"""Services that die, and frames that nobody should send: the suite goes on."""

import asyncio
import math
import os
from collections.abc import Iterator
from typing import Any

import pytest

from bus.frames import Frame, Header
from launcher.bench.suite import Suite, running_suite
from launcher.client import Event, WebSocketClient, connect_websocket, speak
from proto.v1 import speech_pb2 as pb
from tests.support.bus import PATIENCE_S, FakeGateway, ipc_folder
from tests.support.sound import silence, tone

SCRIPT = {"asr": ["--canary"], "tts": ["--ms_per_character", "20"]}
ROLES = ["vad", "asr", "llm", "tts"]


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running_suite(flags=SCRIPT) as running:
        yield running


async def next_event(client: WebSocketClient, *kinds: str) -> Event:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            item = await client.receive()
            if isinstance(item, Event) and item.kind in kinds:
                return item


def instances(health: dict[str, Any], role: str) -> list[str]:
    return [service["instance"] for service in health["services"] if service["role"] == role]


async def ask(client: WebSocketClient) -> Event:
    """Speak a turn; return how it ended."""
    await speak(client, tone(440, 0.6) + silence(0.7), pace=math.inf)
    return await next_event(client, "response_done", "turn_failed")


@pytest.mark.parametrize("role", ROLES)
async def test_a_killed_service_is_replaced_and_the_same_client_is_answered(suite: Suite, role: str) -> None:
    async with await connect_websocket("127.0.0.1", suite.ws_port) as client:
        assert (await ask(client)).fields["status"] == "completed"
        dead = instances(suite.health(), role)
        suite.kill(role)
        suite.start(role)
        await asyncio.to_thread(
            suite.wait_for, lambda h: h["status"] == "ok" and set(dead).isdisjoint(instances(h, role))
        )
        assert (await ask(client)).fields.get("status") == "completed"


async def test_a_turn_whose_recogniser_is_killed_is_answered_when_there_is_one_again() -> None:
    slow = {**SCRIPT, "asr": ["--canary", "--latency", "5"]}
    with running_suite(flags=slow) as suite:
        async with await connect_websocket("127.0.0.1", suite.ws_port) as client:
            await speak(client, tone(440, 0.6) + silence(0.7), pace=math.inf)
            await next_event(client, "speech_stopped")
            suite.kill("asr")
            suite._flags["asr"] = SCRIPT["asr"]
            suite.start("asr")
            done = await next_event(client, "turn_failed", "response_done")
            assert done.fields["status"] == "completed"


async def test_frames_that_nobody_should_send_are_survived_by_every_service(suite: Suite) -> None:
    with ipc_folder() as folder:
        stranger = FakeGateway(folder)
        for role in ROLES:
            inbox = suite.inboxes[role]
            for data in (b"", b"\xff" * 1000, os.urandom(5000), bytes(9_000_000)):
                stranger.send_raw(inbox, data)
            stranger.send(inbox, Header(session_id="nobody"), audio=pb.Audio(pcm=b"\0\0"))
            stranger.send(inbox, Header(session_id="nobody"), speech=pb.Speech(pcm=b"\0\0"))
            stranger.send(inbox, Header(session_id="nobody", response_id="r"), synthesis_grant=pb.SynthesisGrant())
            stranger.send(inbox, Header(session_id="nobody"), announcement=pb.Announcement())
            no_body = Frame(header=Header(session_id="nobody", reply_to=stranger.address))
            stranger.send_raw(inbox, no_body.SerializeToString())
            errors = [(await stranger.next("error")).error for _ in range(4)]
            assert {error.code for error in errors} <= {pb.Error.BAD_FRAME, pb.Error.UNKNOWN_SESSION}
        stranger.send_raw(suite.inbox, os.urandom(5000))
        stranger.close()
    async with await connect_websocket("127.0.0.1", suite.ws_port) as client:
        assert (await ask(client)).fields["status"] == "completed"
