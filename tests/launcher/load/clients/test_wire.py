"""RFC 6455 by hand, held to the library that the suite serves it with."""

import asyncio
import struct
from collections.abc import AsyncIterator
from functools import partial

import pytest
from websockets.asyncio.server import ServerConnection, serve

from launcher.load.clients.wire import BINARY, TEXT, WebSocketWire, frame

REQUEST = (
    "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 100_000)


class Ear:
    """Keeps what a wire tells."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self.ended: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.opened = asyncio.Event()
        self.wire = WebSocketWire(REQUEST, self.opened.set, self._hear, self._end)

    def _hear(self, opcode: int, buffer: bytearray, begin: int, end: int) -> None:
        self.heard.put_nowait((opcode, bytes(buffer[begin:end])))

    def _end(self, why: str, code: int) -> None:
        self.ended.put_nowait((why, code))


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        if message == "goodbye":
            await connection.close(1013, "at capacity")
            return
        await connection.ping()
        await connection.send(message)


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    async with serve(echo, "127.0.0.1", 0, compression=None, max_size=None) as server:
        made = Ear()
        port = next(iter(server.sockets)).getsockname()[1]
        await asyncio.get_running_loop().create_connection(made.wire.itself, "127.0.0.1", port)
        async with asyncio.timeout(20):
            await made.opened.wait()
            yield made
        made.wire.abort()


@pytest.mark.parametrize("size", SIZES)
async def test_messages_of_every_length_come_back(ear: Ear, size: int) -> None:
    ear.wire.send(frame(BINARY, b"x" * size))
    ear.wire.send(frame(TEXT, b"y" * size))
    assert await ear.heard.get() == (BINARY, b"x" * size)
    assert await ear.heard.get() == (TEXT, b"y" * size)


async def test_a_close_tells_its_code_and_reason(ear: Ear) -> None:
    ear.wire.send(frame(TEXT, b"goodbye"))
    assert await ear.ended.get() == ("at capacity", 1013)


async def test_our_own_goodbye_is_no_news(ear: Ear) -> None:
    ear.wire.close()
    await asyncio.sleep(0)
    assert ear.ended.empty()


def note_length(heard: list[int], _: int, __: bytearray, begin: int, end: int) -> None:
    heard.append(end - begin)


def test_frames_may_come_in_pieces_of_any_length() -> None:
    answers = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + b"".join(
        b"\x82" + (bytes([size]) if size < 126 else b"\x7e" + struct.pack("!H", size)) + b"z" * size
        for size in (3, 200, 0)
    )
    for length in (1, 2, 7, len(answers)):
        heard: list[int] = []
        wire = WebSocketWire(REQUEST, lambda: None, partial(note_length, heard), lambda *_: None)
        for start in range(0, len(answers), length):
            wire.data_received(answers[start : start + length])
        assert heard == [3, 200, 0]


def test_a_refused_upgrade_tells_the_status() -> None:
    ended: list[tuple[str, int]] = []
    wire = WebSocketWire(REQUEST, lambda: None, lambda *_: None, lambda *told: ended.append(told))
    wire.data_received(b"HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\n")
    assert ended == [("HTTP/1.1 503 Service Unavailable", 1013)]
