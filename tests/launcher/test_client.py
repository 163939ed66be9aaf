import asyncio
import math
import socket

import pytest

from launcher.client import Audio, Event, connect_tcp, connect_websocket, speak, websocket_url
from launcher.errors import ClosedError, RefusedError, UnreachableError
from tests.launcher.fake_suite import TONE, tcp_suite, websocket_suite

SPEECH = b"\x01\x10" * 1600
SILENCE = bytes(16_000)
PATIENCE_S = 20.0


async def test_a_websocket_client_hears_events_and_audio_in_order() -> None:
    async with websocket_suite() as (port, heard), await connect_websocket("localhost", port) as client:
        await speak(client, SPEECH + SILENCE, pace=math.inf)
        kinds = []
        async with asyncio.timeout(PATIENCE_S):
            async for item in client:
                kinds.append(item.kind if isinstance(item, Event) else "audio")
                if kinds[-1] == "response_done":
                    break
        assert heard.pcm == SPEECH + SILENCE
    assert kinds[0] == "session"
    assert kinds[-3:] == ["latency", "audio", "response_done"]


async def test_a_websocket_client_that_wants_no_events_hears_only_audio() -> None:
    async with websocket_suite() as (port, _), await connect_websocket("localhost", port, events=False) as client:
        await speak(client, SPEECH + SILENCE, pace=math.inf)
        async with asyncio.timeout(PATIENCE_S):
            item = await client.receive()
        assert isinstance(item, Audio)
        assert item.pcm == TONE
        assert item.ms == 100


async def test_a_refused_websocket_client_is_told_why() -> None:
    refusing = websocket_suite(refuse="not ready: tts")
    async with refusing as (port, _), await connect_websocket("localhost", port) as client:
        with pytest.raises(RefusedError, match="not ready: tts") as caught:
            await client.receive()
    assert caught.value.reason == "not ready: tts"


async def test_a_tcp_client_speaks_on_one_connection_and_hears_on_the_other() -> None:
    async with tcp_suite() as (recv_port, send_port, heard):
        async with await connect_tcp("localhost", recv_port, send_port) as client:
            await speak(client, SPEECH + SILENCE, pace=math.inf)
            answer = b""
            async with asyncio.timeout(PATIENCE_S):
                while len(answer) < len(TONE):
                    item = await client.receive()
                    assert isinstance(item, Audio)
                    answer += item.pcm
            client.end_input()
            with pytest.raises(ClosedError):
                await client.receive()
        assert heard.pcm == SPEECH + SILENCE
    assert answer == TONE


async def test_a_tcp_client_can_wait_for_the_suite_to_come() -> None:
    async def speaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, answers = await asyncio.open_connection("localhost", send_port)
        answers.write(await reader.readexactly(4))
        answers.close()
        writer.close()

    with socket.create_server(("localhost", 0)) as free:
        send_port = free.getsockname()[1]
    async with await asyncio.start_server(speaks, "localhost", 0) as server:
        recv_port = server.sockets[0].getsockname()[1]
        async with await connect_tcp("localhost", recv_port, send_port, listen=True) as client:
            await client.send(b"abcd")
            item = await client.receive()
        assert isinstance(item, Audio)
        assert item.pcm == b"abcd"


async def test_a_suite_that_does_not_run_is_one_line_that_says_how_to_start_it() -> None:
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(UnreachableError, match=f"no suite at localhost:{port} .*start one with: speech-to-speech"):
        await connect_websocket("localhost", port)
    with pytest.raises(UnreachableError, match=f"localhost:{port}"):
        await connect_tcp("localhost", port, port)


async def test_speech_is_sent_no_sooner_than_a_microphone_would() -> None:
    async with websocket_suite() as (port, heard):
        async with await connect_websocket("localhost", port) as client:
            begun_s = asyncio.get_running_loop().time()
            due_s = await speak(client, bytes(3200 + 10), chunk_ms=20)
        await asyncio.wait_for(heard.closed.wait(), PATIENCE_S)
    assert due_s >= begun_s + 0.1003
    assert len(heard.times) == 6
    for number, at_s in enumerate(heard.times[:5], start=1):
        assert at_s >= begun_s + number * 0.02 - 0.001  # uvloop's timers count milliseconds


def test_an_ipv6_address_is_written_in_brackets() -> None:
    assert websocket_url("::1", 8765) == "ws://[::1]:8765"
    assert websocket_url("localhost", 8765) == "ws://localhost:8765"
