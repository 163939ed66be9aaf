"""A suite with scripted engines, seen from outside: who speaks hears the answer to what was said, and nobody else's.

A tone stands for an utterance: the scripted recogniser hears "tone 440", the model answers with those words, and the
scripted voice plays them as 440 Hz. So every client can tell whose answer it got.
"""

import asyncio
import json
import math
import socket
import struct
from collections.abc import AsyncIterator, Iterator

import pytest
import websockets

from launcher.bench.suite import Suite, running_suite
from launcher.client import (
    Audio,
    Client,
    Event,
    TcpClient,
    WebSocketClient,
    connect_tcp,
    connect_websocket,
    speak,
)
from launcher.errors import ClosedError, RefusedError
from tests.support.bus import PATIENCE_S
from tests.support.sound import dominant_hz, silence, tone

SCRIPT = {
    "asr": ["--canary"],
    "llm": ["--reply", "I heard {text} and I say {text} again."],
    "tts": ["--ms_per_character", "60"],
}


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running_suite(flags=SCRIPT) as running:
        yield running


async def connect(suite: Suite, mode: str) -> WebSocketClient | TcpClient:
    if mode == "socket":
        return await connect_tcp("127.0.0.1", suite.recv_port, suite.send_port)
    return await connect_websocket("127.0.0.1", suite.ws_port)


async def answer(client: Client) -> bytes:
    """Return the audio of the next answer: all that comes until nothing has come for a while."""
    heard = b""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                item = await asyncio.wait_for(client.receive(), 1.0 if heard else PATIENCE_S)
            except TimeoutError:
                return heard
            if isinstance(item, Audio):
                heard += item.pcm


async def events(client: WebSocketClient, last: str) -> AsyncIterator[Event]:
    """Yield the events up to the first *last*."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            item = await client.receive()
            if isinstance(item, Event):
                yield item
                if item.kind == last:
                    return


async def kinds(client: WebSocketClient, last: str) -> list[str]:
    return [event.kind async for event in events(client, last)]


@pytest.mark.parametrize("mode", ["websocket", "socket"])
async def test_eight_clients_at_once_each_hear_their_own_answer(suite: Suite, mode: str) -> None:
    async def converse(hz: int) -> float:
        async with await connect(suite, mode) as client:
            await speak(client, tone(hz, 0.8) + silence(0.8))
            return dominant_hz(await answer(client))

    frequencies = list(range(400, 1200, 100))
    heard = await asyncio.gather(*(converse(hz) for hz in frequencies))
    assert [round(hz, -1) for hz in heard] == frequencies


async def test_the_events_of_a_turn_come_in_order(suite: Suite) -> None:
    async with await connect_websocket("127.0.0.1", suite.ws_port) as client:
        speaking = asyncio.create_task(speak(client, tone(440, 0.8) + silence(0.8)))
        told = [event async for event in events(client, "response_done")]
        await speaking
    order = [event.kind for event in told]
    for before, after in [
        ("session", "speech_started"),
        ("speech_started", "speech_stopped"),
        ("speech_stopped", "transcript"),
        ("transcript", "response_started"),
        ("response_started", "response_text"),
        ("response_started", "latency"),
        ("latency", "response_done"),
    ]:
        assert order.index(before) < order.index(after), order
    by_kind = {event.kind: event.fields for event in told}
    assert by_kind["transcript"]["text"] == "tone 440"
    assert by_kind["response_done"]["status"] == "completed"
    assert by_kind["response_done"]["text"] == "I heard tone 440 and I say tone 440 again."
    assert {"vad", "asr", "llm", "tts", "to_client", "total"} <= by_kind["latency"]["ms"].keys()


async def test_without_asking_for_events_only_audio_comes(suite: Suite) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{suite.ws_port}", proxy=None) as client:
        await client.send(tone(500, 0.8))
        first = await asyncio.wait_for(client.recv(), PATIENCE_S)
        assert isinstance(first, bytes)


async def test_a_client_that_falls_silent_in_mid_speech_is_answered(suite: Suite) -> None:
    async with await connect(suite, "websocket") as client:
        await client.send(tone(600, 1.0))
        assert round(dominant_hz(await answer(client)), -1) == 600


async def test_a_client_that_ends_its_input_hears_its_answer_and_then_the_end(suite: Suite) -> None:
    async with await connect_tcp("127.0.0.1", suite.recv_port, suite.send_port) as client:
        await client.send(tone(700, 1.0))
        client.end_input()
        heard = b""
        async with asyncio.timeout(PATIENCE_S):
            async for item in client:
                assert isinstance(item, Audio)
                heard += item.pcm
    assert round(dominant_hz(heard), -1) == 700
    assert len(heard) % 2048 == 0


async def test_speaking_over_the_answer_stops_it_and_is_answered(suite: Suite) -> None:
    async with await connect_websocket("127.0.0.1", suite.ws_port) as client:
        await speak(client, tone(440, 0.6) + silence(0.6), pace=math.inf)
        await kinds(client, "latency")
        # Beyond the second in which going on would continue the question.
        await speak(client, silence(1.2) + tone(880, 0.6) + silence(0.7))
        stopped = [event async for event in events(client, "response_done")][-1].fields
        assert stopped["status"] == "cancelled"
        assert stopped["text"] != ""
        assert "I heard tone 440 and I say tone 440 again.".startswith(stopped["text"])
        told = [event async for event in events(client, "response_done")]
    assert told[-1].fields["text"] == "I heard tone 880 and I say tone 880 again."


async def test_going_on_at_once_makes_one_message_of_both_utterances(suite: Suite) -> None:
    async with await connect_websocket("127.0.0.1", suite.ws_port) as client:
        await speak(client, tone(440, 0.6) + silence(0.8) + tone(880, 0.6) + silence(0.8))
        told = [event async for event in events(client, "response_done")]
        while told[-1].fields["status"] != "completed":
            told = [event async for event in events(client, "response_done")]
    assert told[-1].fields["text"] == "I heard tone 440 tone 880 and I say tone 440 tone 880 again."


async def test_twenty_times_real_time_is_slowed_and_not_lost(suite: Suite) -> None:
    async with await connect_websocket("127.0.0.1", suite.ws_port) as client:
        speaking = asyncio.create_task(speak(client, tone(440, 60.0) + silence(1.0), pace=20))
        told = [event async for event in events(client, "response_done")]
        await speaking
    stopped = next(event for event in told if event.kind == "speech_stopped")
    assert stopped.fields["at_ms"] >= 60_000


NOISE = bytes((i * 2654435761 >> 7) & 0xFF for i in range(64_000))
BAD_INPUT = {
    "odd": b"\x01" * 1001,
    "one byte": b"\x01",
    "empty": b"",
    "noise": NOISE,
    "clipping": struct.pack("<2h", 32767, -32768) * 16_000,
    "dc": struct.pack("<h", 20_000) * 32_000,
}


@pytest.mark.parametrize("name", BAD_INPUT)
@pytest.mark.parametrize("mode", ["websocket", "socket"])
async def test_bad_audio_does_no_harm(suite: Suite, mode: str, name: str) -> None:
    async with await connect(suite, mode) as client:
        for _ in range(3):
            await client.send(BAD_INPUT[name])
    await still_answers(suite)


async def still_answers(suite: Suite) -> None:
    async with await connect(suite, "websocket") as client:
        await speak(client, tone(1000, 0.6) + silence(0.7), pace=math.inf)
        assert round(dominant_hz(await answer(client)), -1) == 1000


async def test_text_is_answered_with_an_error_event(suite: Suite) -> None:
    async with await connect_websocket("127.0.0.1", suite.ws_port) as client:
        await client.send_text(json.dumps({"type": "hello"}))
        assert (await kinds(client, "error"))[-1] == "error"


async def test_a_message_of_50_mb_is_refused_with_its_close_code(suite: Suite) -> None:
    async with await connect_websocket("127.0.0.1", suite.ws_port) as client:
        with pytest.raises(ClosedError) as closed:
            await send_and_receive_for_ever(client, bytes(50_000_000))
        assert closed.value.code == 1009
    await still_answers(suite)


async def send_and_receive_for_ever(client: WebSocketClient, pcm: bytes) -> None:
    await client.send(pcm)
    while True:
        await client.receive()


async def test_a_client_that_never_reads_slows_nobody(suite: Suite) -> None:
    async with await connect(suite, "websocket") as deaf:
        await speak(deaf, tone(440, 0.8) + silence(0.7), pace=math.inf)
        await still_answers(suite)


async def test_resets_in_mid_speech_leave_nothing_behind(suite: Suite) -> None:
    for _ in range(10):
        client = await connect_tcp("127.0.0.1", suite.recv_port, suite.send_port)
        await client.send(tone(440, 0.3)[:-1])
        client.abort()
    await no_sessions(suite)
    await still_answers(suite)


async def test_200_connects_and_disconnects_leave_nothing_behind(suite: Suite) -> None:
    for number in range(200):
        if number % 2:
            await (await connect_websocket("127.0.0.1", suite.ws_port)).close()
        else:
            with socket.create_connection(("127.0.0.1", suite.recv_port)):
                pass
    await no_sessions(suite)
    await still_answers(suite)


async def no_sessions(suite: Suite) -> None:
    """Wait until every session and every lease is gone."""
    health = await asyncio.to_thread(
        suite.wait_for, lambda h: h["sessions"] == 0 and all(service["leases"] == 0 for service in h["services"])
    )
    assert health["sessions"] == 0


async def test_more_clients_than_allowed_are_refused_in_words() -> None:
    with running_suite(flags={**SCRIPT, "gateway": ["--max_sessions", "1"]}) as small:
        async with await connect_websocket("127.0.0.1", small.ws_port) as first:
            await kinds(first, "session")
            async with await connect_websocket("127.0.0.1", small.ws_port) as second:
                with pytest.raises(RefusedError, match="at capacity"):
                    await second.receive()
            await still_there(first)


async def still_there(client: WebSocketClient) -> None:
    speaking = asyncio.create_task(speak(client, tone(500, 0.6) + silence(0.7)))
    assert (await kinds(client, "response_done"))[-1] == "response_done"
    await speaking
