"""Messages that are taken and sent as they come, beside those that go the ordinary way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect

from gateway.listeners.protocol import EXTENSION, WebSocketProtocol, send_at_once, take_at_once
from tests.support.bus import PATIENCE_S
from tests.support.waiting import until


class App:
    """Notes what it hears: what begins with "now" at once, the rest when `gate` is open."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.at_once: list[str] = []
        self.sent: list[bool] = []
        self.websocket: WebSocket | None = None
        self.gives_up = False
        self.is_away = asyncio.Event()
        self.begins = asyncio.Event()
        self.begins.set()
        self.gate = asyncio.Event()
        self.over = asyncio.Event()

    async def converse(self, websocket: WebSocket) -> None:
        await websocket.accept()

        def take(message: bytes, is_text: bool) -> bool:
            text = message.decode() if is_text else "binary"
            if not text.startswith("now"):
                return False
            self.heard.append(text)
            self.at_once.append(text)
            return True

        take_at_once(websocket, take)
        self.websocket = websocket
        try:
            if self.gives_up:
                with suppress(TimeoutError):
                    await asyncio.wait_for(websocket.receive(), 0.01)
            self.is_away.set()
            await self.begins.wait()
            while True:
                text = await websocket.receive_text()
                await self.gate.wait()
                self.heard.append(text)
                self.sent.append(send_at_once(websocket, f"heard {text}"))
        except WebSocketDisconnect:
            self.sent.append(send_at_once(websocket, "too late"))
            self.over.set()

    def protocol(self) -> WebSocketProtocol:
        assert self.websocket is not None
        protocol = self.websocket.scope["extensions"][EXTENSION]["protocol"]
        assert isinstance(protocol, WebSocketProtocol)
        return protocol


@asynccontextmanager
async def talking(app: App) -> AsyncIterator[ClientConnection]:
    web = Starlette(routes=[WebSocketRoute("/", app.converse)])
    server = uvicorn.Server(uvicorn.Config(web, port=0, ws=WebSocketProtocol, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", proxy=None) as client:
            yield client
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, PATIENCE_S)


async def test_messages_that_are_taken_at_once_do_not_overtake_those_that_are_not() -> None:
    app = App()
    async with talking(app) as client:
        await client.send("now 1")
        await until(lambda: app.heard)
        for text in ("later 2", "now 3", "later 4", "now 5"):
            await client.send(text)
        app.gate.set()
        await until(lambda: len(app.heard) == 5)
        await client.send("now 6")
        await until(lambda: len(app.heard) == 6)
    assert app.heard == ["now 1", "later 2", "now 3", "later 4", "now 5", "now 6"]
    assert app.at_once[0] == "now 1"
    assert app.at_once[-1] == "now 6"


async def test_a_message_does_not_overtake_one_that_came_with_it() -> None:
    app = App()
    app.gate.set()
    async with talking(app) as client:
        await client.send("now 1")
        await until(lambda: app.heard)
        for text in ("later 2", "now 3", "later 4", "now 5"):
            client.protocol.send_text(text.encode())
        client.transport.write(b"".join(client.protocol.data_to_send()))
        await until(lambda: len(app.heard) == 5)
    assert app.heard == ["now 1", "later 2", "now 3", "later 4", "now 5"]
    assert app.at_once == ["now 1"]


@pytest.mark.parametrize("has_waited", [False, True])
async def test_nothing_is_taken_while_the_application_does_not_wait_for_it(has_waited: bool) -> None:
    app = App()
    app.gate.set()
    app.begins.clear()
    app.gives_up = has_waited
    async with talking(app) as client:
        await asyncio.wait_for(app.is_away.wait(), PATIENCE_S)
        await client.send("now 1")
        await until(lambda: not app.protocol().queue.empty())
        app.begins.set()
        await until(lambda: app.heard)
        await client.send("now 2")
        await until(lambda: len(app.heard) == 2)
    assert app.heard == ["now 1", "now 2"]
    assert app.at_once == ["now 2"]


async def test_messages_in_fragments_go_the_ordinary_way() -> None:
    app = App()
    app.gate.set()
    async with talking(app) as client:
        await client.send(["now ", "in two"])
        await until(lambda: app.heard)
    assert app.heard == ["now in two"]
    assert app.at_once == []


async def test_what_is_sent_at_once_arrives_and_nothing_goes_when_the_connection_is_over() -> None:
    app = App()
    app.gate.set()
    async with talking(app) as client:
        await client.send("hello")
        assert await asyncio.wait_for(client.recv(), PATIENCE_S) == "heard hello"
        await client.close()
        await asyncio.wait_for(app.over.wait(), PATIENCE_S)
    assert app.sent == [True, False]
