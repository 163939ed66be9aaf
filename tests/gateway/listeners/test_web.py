"""The raw WebSocket and the health route as their clients see them, with services that answer every turn."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

import gateway.core.session
import gateway.listeners.web
from bus.errors import ConfigurationError
from gateway.core.events import Role
from gateway.listeners.web import WebListener
from gateway.raw_driver import RawDriver
from gateway.registry import Wish
from proto.v1 import speech_pb2 as pb
from tests.gateway.suite import ANSWER_SAMPLES, SILENCE, Suite, suite, told, tone
from tests.support.bus import PATIENCE_S
from tests.support.waiting import until


@asynccontextmanager
async def listening(here: Suite, **flags: Any) -> AsyncIterator[WebListener]:
    listener = WebListener(here.link, told(**flags))
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


@pytest.fixture
async def here() -> AsyncIterator[Suite]:
    async with suite() as here:
        yield here


@pytest.fixture
async def listener(here: Suite) -> AsyncIterator[WebListener]:
    async with listening(here) as listener:
        yield listener


def url(listener: WebListener, path: str = "/") -> str:
    return f"ws://{listener.listening_on}{path}"


async def receive(client: ClientConnection) -> bytes | str:
    """Return the next message."""
    return await asyncio.wait_for(client.recv(), PATIENCE_S)


async def hear(client: ClientConnection, length: int = ANSWER_SAMPLES * 2) -> bytes:
    """Return so many bytes of audio, events aside."""
    heard = b""
    while len(heard) < length:
        message = await receive(client)
        heard += message if isinstance(message, bytes) else b""
    return heard


async def events(client: ClientConnection, until_type: str) -> list[dict[str, Any]]:
    """Return the events up to the next of a type, audio aside."""
    got: list[dict[str, Any]] = []
    while not got or got[-1]["type"] != until_type:
        message = await receive(client)
        if isinstance(message, str):
            got.append(json.loads(message))
    return got


async def closed(client: ClientConnection) -> tuple[int | None, str | None]:
    """Wait until the server has closed; return code and reason."""
    with suppress(ConnectionClosed):
        while True:
            await receive(client)
    return client.close_code, client.close_reason


async def get(listener: WebListener, path: str) -> tuple[int, str]:
    """Return status and body of an HTTP request."""
    host, port = listener.listening_on.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await asyncio.wait_for(reader.read(), PATIENCE_S)).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split(maxsplit=2)[1]), body


# -- conversations ----------------------------------------------------------------------------------------------------


async def test_a_client_gets_its_answer_and_nothing_but_audio(listener: WebListener) -> None:
    async with connect(url(listener)) as client:
        for sample in (7, 8):
            await client.send(tone(sample) + SILENCE)
            first = await receive(client)
            assert isinstance(first, bytes)  # the promised example writes the first message into a file
            rest = await hear(client, ANSWER_SAMPLES * 2 - len(first))
            assert first + rest == tone(sample, ANSWER_SAMPLES)


async def test_a_recording_without_silence_at_its_end_is_answered(listener: WebListener) -> None:
    async with connect(url(listener)) as client:
        await client.send(tone(9))
        assert await hear(client) == tone(9, ANSWER_SAMPLES)


async def test_every_client_hears_its_own_answer(listener: WebListener) -> None:
    clients = [await connect(url(listener)) for _ in range(8)]
    for number, client in enumerate(clients, start=1):
        await client.send(tone(number) + SILENCE)
    for number, client in enumerate(clients, start=1):
        assert await hear(client) == tone(number, ANSWER_SAMPLES)
    for client in clients:
        await client.close()


@pytest.mark.parametrize("size", [1, 3, 1023, 40_000])
async def test_messages_of_any_size_are_understood(listener: WebListener, size: int) -> None:
    said = tone(0x0107, 1024) + bytes(2048)
    async with connect(url(listener)) as client:
        await client.send(b"")
        for start in range(0, len(said), size):
            await client.send(said[start : start + size])
        assert await hear(client) == tone(0x0107, ANSWER_SAMPLES)


async def test_a_message_of_minutes_is_understood(here: Suite, listener: WebListener) -> None:
    async with connect(url(listener), max_size=None) as client:
        await client.send(bytes(32_000 * 180) + tone(6) + SILENCE)
        assert await hear(client) == tone(6, ANSWER_SAMPLES)
        assert here.link.sessions == 1


async def test_who_asks_for_events_is_told_what_happens_in_order(here: Suite, listener: WebListener) -> None:
    async with connect(url(listener, "/?events=1")) as client:
        first = json.loads(await receive(client))
        assert (first["type"], first["sample_rate"]) == ("session", 16_000)
        await client.send(tone(7) + SILENCE)
        got = await events(client, "response_done")
        types = [event["type"] for event in got if event["type"] != "latency"]
        assert types[0] == "speech_started"
        assert set(types[1:3]) == {"speech_stopped", "transcript"}  # of two services: either may be first
        assert types[3:] == ["response_started", "response_text", "response_done"]
        assert got[-1]["status"] == "completed"
        assert got[-1]["text"] == "7"
        assert first["session_id"] in {session_id for r in here.link.registry.all() for session_id, _ in r.places}


async def test_speaking_over_an_answer_ends_it(here: Suite) -> None:
    here.answer_samples = 160_000
    async with listening(here, lead_ms=100) as listener, connect(url(listener, "/?events=1")) as client:
        await client.send(tone(7) + SILENCE)
        assert set(await hear(client, 2)) == {0, 7}
        here.answer_samples = ANSWER_SAMPLES
        await client.send(tone(8) + SILENCE)
        got = await events(client, "interrupt")
        assert [event["type"] for event in got][-2:] == ["speech_started", "interrupt"]
        assert set(await hear(client)) == {0, 8}


# -- what else comes --------------------------------------------------------------------------------------------------


async def test_text_is_answered_with_an_error_where_events_are_wanted(listener: WebListener) -> None:
    async with connect(url(listener, "/?events=1")) as client:
        await client.send("hello")
        assert "binary" in (await events(client, "error"))[-1]["message"]
        await client.send(tone(7) + SILENCE)
        assert await hear(client) == tone(7, ANSWER_SAMPLES)


async def test_text_is_passed_over_where_they_are_not(listener: WebListener) -> None:
    async with connect(url(listener)) as client:
        await client.send("hello")
        await client.send(tone(7) + SILENCE)
        assert await hear(client) == tone(7, ANSWER_SAMPLES)


async def test_a_message_that_is_too_big_ends_this_connection_and_no_other(here: Suite) -> None:
    async with (
        listening(here, max_message_bytes=100_000) as listener,
        connect(url(listener)) as other,
        connect(url(listener)) as client,
    ):
        with suppress(ConnectionClosedError):
            await client.send(bytes(200_000))
        assert (await closed(client))[0] == 1009
        await until(lambda: here.link.sessions == 1)
        await other.send(tone(7) + SILENCE)
        assert await hear(other) == tone(7, ANSWER_SAMPLES)


async def test_a_client_that_vanishes_leaves_nothing_behind(here: Suite, listener: WebListener) -> None:
    client = await connect(url(listener))
    await client.send(tone(7))
    await until(lambda: any(work == "turn 1" for r in here.link.registry.all() for _, work in r.places))
    client.transport.abort()
    await until(lambda: here.link.sessions == 0)
    assert not any(replica.places for replica in here.link.registry.all())


async def test_a_client_that_never_reads_is_let_go_and_others_do_not_notice(
    here: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.core.session, "NOT_READING_MS", 50)
    monkeypatch.setattr(gateway.listeners.closing, "LINGER_S", 0.05)
    here.answer_samples = 160_000
    async with listening(here) as listener, connect(url(listener)) as other:
        host, port = listener.listening_on.rsplit(":", 1)
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.setblocking(False)
        await asyncio.get_running_loop().sock_connect(small, (host, int(port)))
        deaf = await connect(url(listener), sock=small, max_queue=1)
        await until(lambda: here.link.sessions == 2)
        while here.link.sessions == 2:
            with suppress(ConnectionClosed, TimeoutError):
                async with asyncio.timeout(0.05):
                    await deaf.send(tone(7) + SILENCE)
                    await deaf.wait_closed()
        here.answer_samples = ANSWER_SAMPLES
        await other.send(tone(8) + SILENCE)
        assert await hear(other) == tone(8, ANSWER_SAMPLES)
        await until(lambda: len(listener._clients) == 1)
        deaf.transport.abort()
        await deaf.wait_closed()


async def test_many_who_come_and_go_leave_nothing_behind(here: Suite, listener: WebListener) -> None:
    async with connect(url(listener)):
        await until(lambda: here.link.sessions == 1)
    await until(lambda: here.link.sessions == 0)
    before = len(asyncio.all_tasks())
    for number in range(200):
        client = await connect(url(listener, "/?events=1" if number % 2 else "/"))
        match number % 4:
            case 0:
                await client.send(tone(number + 1, 500))
                client.transport.abort()
            case 1:
                await client.send(tone(number) + SILENCE)
                await client.close()
            case 2:
                client.transport.abort()
            case _:
                await client.close()
    await until(lambda: here.link.sessions == 0)
    assert not listener._clients
    assert not any(replica.places for replica in here.link.registry.all())
    await until(lambda: len(asyncio.all_tasks()) <= before)


# -- who is let in ----------------------------------------------------------------------------------------------------


async def test_a_client_for_whom_there_is_no_room_is_told_to_try_again(here: Suite) -> None:
    async with (
        listening(here, max_sessions=1) as listener,
        connect(url(listener)),
        connect(url(listener)) as refused,
    ):
        assert await closed(refused) == (1013, "at capacity: 1 clients are connected")


async def test_a_client_that_comes_before_the_services_is_told_to_try_again() -> None:
    async with suite(state=pb.LOADING) as here, listening(here) as listener, connect(url(listener)) as refused:
        assert await closed(refused) == (1013, "not ready: vad, asr, llm, tts")
        assert here.link.sessions == 0


async def test_a_client_that_the_vad_refuses_is_told_to_try_again(here: Suite) -> None:
    hear_frame = here.hear

    def refuse(service: Any, body: str, frame: pb.Frame) -> None:
        service.refuse(frame) if body == "session_open" else hear_frame(service, body, frame)

    here.hear = refuse  # type: ignore[method-assign]
    async with listening(here) as listener, connect(url(listener)) as refused:
        assert await closed(refused) == (1013, "at capacity: vad")


async def test_without_its_mode_there_is_no_raw_websocket(here: Suite) -> None:
    async with listening(here, mode=["socket"]) as listener:
        with pytest.raises(InvalidStatus):
            await connect(url(listener))


@pytest.mark.parametrize(
    ("asked", "told"),
    [("asr=whisper", "no asr 'whisper' here, but "), ("voice=tenor", "no voice 'tenor' here, but ")],
)
async def test_who_asks_for_what_nobody_has_is_told_so(listener: WebListener, asked: str, told: str) -> None:
    async with connect(url(listener, f"/?events=1&{asked}")) as client:
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert closed.value.rcvd.reason.startswith(told)


async def test_engines_and_a_language_may_be_asked_for_by_name(here: Suite, listener: WebListener) -> None:
    async with connect(url(listener, "/?events=1&asr=scripted&llm=scripted&language=de")) as client:
        assert json.loads(await client.recv())["type"] == "session"
        (driver,) = here.link._sessions.values()
        assert isinstance(driver, RawDriver)
        assert driver._recognition().language == "de"
        assert driver._places._wishes[Role.ASR] == Wish("scripted", "de")


async def test_other_paths_are_refused(listener: WebListener) -> None:
    with pytest.raises(InvalidStatus):
        await connect(url(listener, "/elsewhere"))


async def test_stopping_says_goodbye(here: Suite) -> None:
    async with listening(here) as listener:
        client = await connect(url(listener))
        await until(lambda: here.link.sessions == 1)
    assert await closed(client) == (1001, "the server is stopping")
    assert here.link.sessions == 0


# -- health and addresses ---------------------------------------------------------------------------------------------


async def test_health_tells_who_is_here(here: Suite, listener: WebListener) -> None:
    status, body = await get(listener, "/health")
    said = json.loads(body)
    assert (status, said["status"], said["sessions"]) == (200, "ok", 0)
    assert [service["role"] for service in said["services"]] == ["vad", "asr", "llm", "tts"]
    here.asr.announce(state=pb.DRAINING)
    await until(here.link.not_ready)
    status, body = await get(listener, "/health")
    assert (status, json.loads(body)["status"]) == (503, "not ready: asr")


async def test_an_unknown_route_is_404(listener: WebListener) -> None:
    assert (await get(listener, "/nothing"))[0] == 404


async def test_a_port_that_is_taken_is_one_line_that_names_the_flag(here: Suite, listener: WebListener) -> None:
    port = int(listener.listening_on.rsplit(":", 1)[1])
    with pytest.raises(ConfigurationError, match=rf"cannot listen on 127.0.0.1:{port} .* --ws_port"):
        await WebListener(here.link, told(ws_port=port)).start()


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("no-such-host.invalid", "'no-such-host.invalid' is unknown; change --ws_host"),
        ("192.0.2.1", "cannot listen on 192.0.2.1:0 .* change --ws_host"),
    ],
)
async def test_a_host_that_cannot_be_had_is_one_line_that_names_the_flag(here: Suite, host: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        await WebListener(here.link, told(ws_host=host)).start()
