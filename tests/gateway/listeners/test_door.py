"""The door of the web port: who loiters in it, says too much, or comes when it is full is sent away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest
from websockets.asyncio.client import connect

import gateway.listeners.door
import gateway.listeners.web
from gateway.listeners.door import HEADER_BYTES
from gateway.listeners.web import WebListener
from tests.gateway.listeners.test_web import get, listening
from tests.gateway.suite import Suite, suite
from tests.support.bus import PATIENCE_S


@pytest.fixture
async def here() -> AsyncIterator[Suite]:
    async with suite() as here:
        yield here


async def sent(listener: WebListener, *pieces: bytes) -> bytes:
    """Send *pieces*, and return all that comes back before the server closes."""
    host, port = listener.listening_on.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    got = b""
    with suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(PATIENCE_S):
            got = await reader.read()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return got


@pytest.mark.parametrize(
    "request_so_far",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: x\r\n",
        b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    ],
    ids=["nothing", "half a header", "half a body", "half an upgrade"],
)
async def test_who_does_not_finish_a_request_is_cut_off(
    here: Suite, monkeypatch: pytest.MonkeyPatch, request_so_far: bytes
) -> None:
    monkeypatch.setattr(gateway.listeners.door, "REQUEST_S", 0.1)
    async with listening(here) as listener:
        assert await sent(listener, request_so_far) == b""


async def test_who_loiters_after_an_answer_is_cut_off(here: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.listeners.door, "REQUEST_S", 0.1)
    async with listening(here) as listener:
        got = await sent(listener, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /hea")
        assert got.startswith(b"HTTP/1.1 200")


async def test_an_open_websocket_may_stay(here: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.listeners.door, "REQUEST_S", 0.05)
    async with listening(here) as listener, connect(f"ws://{listener.listening_on}/?events=1") as client:
        await client.recv()
        await asyncio.sleep(0.2)
        assert await (await client.ping()) >= 0


async def test_headers_beyond_the_limit_are_refused(here: Suite) -> None:
    async with listening(here) as listener:
        head = b"GET /health HTTP/1.1\r\nHost: x\r\n"
        got = await sent(listener, head, b"X-Long: " + b"x" * (HEADER_BYTES * 2))
        assert got.startswith(b"HTTP/1.1 400")
        assert (await get(listener, "/health"))[0] == 200


async def test_garbage_behind_a_request_closes_the_connection_and_is_no_error_of_ours(
    here: Suite, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(here) as listener:
        head = b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: x\r\n"
        await sent(listener, head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"no chunk\r\n" * 5)
        await sent(listener, head + b"Content-Length: 2\r\n\r\n{}garbage\r\n\r\n", b"\0 more \r\n\r\n")
        await sent(listener, b"GET /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n")
        assert (await get(listener, "/health"))[0] == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_who_comes_when_the_door_is_full_is_told_at_once(here: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.listeners.web, "SPARE", 0)
    async with listening(here, max_sessions=2) as listener, AsyncExitStack() as open_now:
        for _ in range(2):
            client = await open_now.enter_async_context(connect(f"ws://{listener.listening_on}/?events=1"))
            await client.recv()
        assert (await sent(listener, b"")).startswith(b"HTTP/1.1 503")
