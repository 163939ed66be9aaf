"""How connections are closed, also those that are closed already, fail, or hang."""

import asyncio

import pytest
from starlette.types import Message
from starlette.websockets import WebSocket

from gateway.listeners import closing
from gateway.listeners.closing import GOING_AWAY, close, fitting
from tests.support.bus import PATIENCE_S


class Server:
    """The server's end of a WebSocket that is open; its closing is kept, or does what *how* says."""

    def __init__(self, how: str = "") -> None:
        self.how = how
        self.closed: list[Message] = []
        self.messages: list[Message] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]
        self.websocket = WebSocket({"type": "websocket"}, self._receive, self._send)

    async def _receive(self) -> Message:
        return self.messages.pop(0)

    async def _send(self, message: Message) -> None:
        if message["type"] != "websocket.close":
            return
        self.closed.append(message)
        match self.how:
            case "lost":
                raise ConnectionResetError
            case "closed":
                raise RuntimeError("after sending 'websocket.close'")
            case "hangs":
                await asyncio.Event().wait()


async def test_the_client_is_told_why_as_far_as_there_is_room() -> None:
    server = Server()
    await server.websocket.accept()
    await close(server.websocket, GOING_AWAY, "x" * 200)
    assert server.closed == [{"type": "websocket.close", "code": GOING_AWAY, "reason": "x" * 123}]


@pytest.mark.parametrize("how", ["lost", "closed", "hangs"])
async def test_a_connection_that_cannot_be_closed_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(closing, "LINGER_S", 0.01)
    server = Server(how)
    await server.websocket.accept()
    await asyncio.wait_for(close(server.websocket, GOING_AWAY, ""), PATIENCE_S)
    assert len(server.closed) == 1


async def test_a_connection_that_its_client_has_closed_is_left_alone() -> None:
    server = Server()
    await server.websocket.accept()
    await server.websocket.receive()
    await close(server.websocket, GOING_AWAY, "")
    assert server.closed == []


def test_a_reason_is_cut_to_what_a_closing_frame_holds() -> None:
    assert fitting("not ready: asr") == "not ready: asr"
    assert fitting("ä" * 100) == "ä" * 61
