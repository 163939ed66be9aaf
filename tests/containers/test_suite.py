"""A suite in containers, from its start to its end; `make test-containers` runs it, in this order."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from openai import AsyncOpenAI

from launcher.client import Audio, WebSocketClient, connect_tcp, connect_websocket, speak
from launcher.errors import ClosedError, RefusedError
from launcher.exchange import Exchange
from launcher.say import converse
from tests.containers.composed import ROLES, Composed
from tests.support.bus import PATIENCE_S
from tests.support.sound import silence

pytestmark = pytest.mark.containers

# Containers start and stop between one step and the next.
SLOWLY_S = 60.0
GOING_AWAY = {1001, 1012}


async def connected(composed: Composed) -> WebSocketClient:
    return await connect_websocket("127.0.0.1", int(composed.variables["WS_PORT"]))


async def asked(client: Any, question: bytes) -> Exchange:
    return await converse(client, question, lambda *_: None, patience_s=PATIENCE_S)


async def answered(composed: Composed, client: Any, question: bytes) -> str:
    """Ask *question*; return what was heard, or fail with all that is known."""
    exchange = await asked(client, question)
    if not exchange.answered:
        pytest.fail(f"{exchange.finish()}\n{composed.logs()}", pytrace=False)
    return exchange.finish().heard


async def until_ready(composed: Composed, role: str, engines: list[str]) -> None:
    async with asyncio.timeout(SLOWLY_S):
        while await asyncio.to_thread(composed.engines, role) != engines:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.5)


def test_every_container_is_healthy(composed: Composed) -> None:
    states = {each["Config"]["Labels"]["com.docker.compose.service"]: each["State"] for each in composed.containers()}
    assert {name: state["Health"]["Status"] for name, state in states.items()} == dict.fromkeys(
        ["gateway", *ROLES], "healthy"
    )


def test_nothing_is_published_but_the_ports_of_clients(composed: Composed) -> None:
    published = {
        port: host[0]["HostPort"]
        for container in composed.containers()
        for port, host in container["NetworkSettings"]["Ports"].items()
        if host
    }
    assert published == {
        "8765/tcp": composed.variables["WS_PORT"],
        "12345/tcp": composed.variables["RECV_PORT"],
        "12346/tcp": composed.variables["SEND_PORT"],
    }


@pytest.mark.parametrize("service", ["gateway", *ROLES])
def test_a_container_is_nobody_and_holds_no_tools(composed: Composed, service: str) -> None:
    assert composed.shell(service, "id -u; id -g").split() == ["10001", "10001"]
    assert "Read-only" in composed.shell(service, "touch /app/here")
    assert composed.shell(service, "command -v cc gcc g++ make") == ""
    assert "No module named pip" in composed.shell(service, "python -m pip --version")


def test_what_is_said_has_no_way_out_of_the_vad(composed: Composed) -> None:
    (vad,) = composed.containers("vad")
    assert [name.rpartition("_")[2] for name in vad["NetworkSettings"]["Networks"]] == ["bus"]


async def test_a_recording_is_answered_over_websocket(composed: Composed, question: bytes) -> None:
    async with await connected(composed) as client:
        assert await answered(composed, client, question)


async def test_a_recording_is_answered_over_tcp(composed: Composed, question: bytes) -> None:
    ports = (int(composed.variables[name]) for name in ("RECV_PORT", "SEND_PORT"))
    async with await connect_tcp("127.0.0.1", *ports) as client:
        await answered(composed, client, question)


async def test_a_recording_is_answered_over_realtime(composed: Composed, question: bytes) -> None:
    address = f"127.0.0.1:{composed.variables['WS_PORT']}/v1"
    heard = np.frombuffer(question + silence(1.0), "<i2")
    pcm = soxr.resample(heard, 16_000, 24_000).astype("<i2").tobytes()
    spoken = bytearray()
    client = AsyncOpenAI(api_key="none", base_url=f"http://{address}", websocket_base_url=f"ws://{address}")
    async with client, client.realtime.connect(model="any") as connection, asyncio.timeout(SLOWLY_S):
        await connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())
        async for event in connection:
            if event.type == "response.output_audio.delta":
                spoken += base64.b64decode(event.delta)
            if event.type == "response.done":
                assert event.response.status == "completed"
                break
    assert len(spoken) > 24_000


def test_an_unknown_engine_is_told_with_the_known_ones(composed: Composed) -> None:
    refused = composed.run("build", "asr", check=False, variables={"ASR_ENGINE": "nonsense"})
    assert refused.returncode
    assert "unknown engine 'nonsense'; choose one of: faster-whisper" in refused.stdout + refused.stderr


async def test_a_replica_that_crashes_in_mid_conversation_is_done_without(composed: Composed, question: bytes) -> None:
    composed.timed("up --scale asr=2", "up", "--detach", "--wait", "--no-recreate", "--scale", "asr=2")
    await until_ready(composed, "asr", ["pocketsphinx"] * 2)
    async with await connected(composed) as client:
        asking = asyncio.create_task(asked(client, question))
        await asyncio.sleep(1)
        await asyncio.to_thread(composed.crash, "asr", index=1)
        await asking  # answered, or told that it was not understood
        await answered(composed, client, question)
    await until_ready(composed, "asr", ["pocketsphinx"] * 2)  # it was started again
    composed.run("up", "--detach", "--wait", "--no-recreate", "--scale", "asr=1")
    await until_ready(composed, "asr", ["pocketsphinx"])


async def test_an_engine_is_swapped_while_a_conversation_goes_on(composed: Composed, question: bytes) -> None:
    async with await connected(composed) as client:
        await answered(composed, client, question)
        composed.keep_log()
        swap = ("up", "--detach", "--wait", "tts")
        await asyncio.to_thread(composed.timed, "up tts (another engine)", *swap, variables={"TTS_ENGINE": "espeak-ng"})
        await until_ready(composed, "tts", ["espeak-ng"])
        await answered(composed, client, question)
    composed.keep_log()
    composed.run(*swap)


async def test_an_engine_with_a_model_of_the_volume_understands(
    composed: Composed, question: bytes, models: Path
) -> None:
    composed.keep_log()
    told = {"ASR_ENGINE": "faster-whisper", "ASR_LANGUAGE": "en", "ASR_COMPUTE_TYPE": "int8", "MODELS": str(models)}
    swap = ("up", "--detach", "--wait", "--no-deps", "asr")
    composed.timed(
        "up asr (faster-whisper, build and start)", *swap, variables={**told, "ASR_MODEL": "/models/whisper-fixture"}
    )
    async with await connected(composed) as client:
        assert await answered(composed, client, question) == "how old is the Brooklyn Bridge"

    composed.keep_log()
    composed.run("up", "--detach", "--no-deps", "asr", variables={**told, "ASR_MODEL": "/models/nothing"})
    await until_ready(composed, "asr", [])
    async with asyncio.timeout(SLOWLY_S):
        while "there is no model folder /models/nothing" not in composed.run("logs", "asr").stdout:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.5)
    with pytest.raises(RefusedError, match="not ready: asr"):
        async with await connected(composed) as client:
            await client.receive()
    composed.keep_log()
    composed.run("up", "--detach", "--wait", "--no-deps", "asr")
    await until_ready(composed, "asr", ["pocketsphinx"])


async def test_an_end_ends_every_answer_and_kills_nobody(composed: Composed, question: bytes) -> None:
    open_answers: set[str] = set()
    code = 0
    async with await connected(composed) as client, asyncio.timeout(SLOWLY_S):
        await speak(client, question + silence(1.0))
        while not isinstance(item := await client.receive(), Audio):  # the answer has begun
            if item.kind == "response_started":
                open_answers.add(item.fields["response_id"])
        composed.keep_log()
        stopping = asyncio.create_task(asyncio.to_thread(composed.timed, "stop", "stop"))
        try:
            while True:
                item = await client.receive()
                if not isinstance(item, Audio) and item.kind == "response_done":
                    open_answers.discard(item.fields["response_id"])
        except ClosedError as closed:
            code = closed.code
        await stopping
    assert not open_answers
    assert code in GOING_AWAY
    assert {
        each["Name"]: each["State"]["ExitCode"] for each in composed.containers() if each["State"]["ExitCode"]
    } == {}


def test_nobody_was_ever_unhealthy_and_no_log_holds_a_traceback(composed: Composed) -> None:
    composed.keep_log()
    assert composed.unhealthy == []
    assert "Traceback" not in composed.log
    assert "ready" in composed.log
    composed.timed("up --wait, the second time", "up", "--detach", "--wait")
    composed.timed("down", "down")
    assert composed.containers() == []
