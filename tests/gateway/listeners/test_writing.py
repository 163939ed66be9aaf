"""A message to a WebSocket is written, or the connection is known to be closed."""

from typing import Any

import pytest
from starlette.websockets import WebSocket

from gateway.listeners.writing import write

CLOSED = RuntimeError("Unexpected ASGI message 'websocket.send', after sending 'websocket.close'")


def websocket(sent: list[Any], problem: Exception | None = None) -> WebSocket:
    """Return the WebSocket of a server that keeps what it is given, or has a *problem* with it."""

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        if problem is not None and message["type"] == "websocket.send":
            raise problem
        sent.append(message.get("bytes") or message.get("text"))

    return WebSocket({"type": "websocket", "headers": []}, receive, send)


async def test_bytes_and_text_are_sent_as_what_they_are() -> None:
    sent: list[Any] = []
    open_one = websocket(sent)
    await open_one.accept()
    await write(open_one, b"pcm")
    await write(open_one, "event")
    assert sent[1:] == [b"pcm", "event"]


@pytest.mark.parametrize("message", [b"pcm", "event"])
@pytest.mark.parametrize("problem", [CLOSED, OSError("broken pipe")], ids=["closed", "lost"])
async def test_a_connection_that_is_closed_or_lost_is_no_bug(message: bytes | str, problem: Exception) -> None:
    gone = websocket([], problem)
    await gone.accept()
    with pytest.raises(ConnectionResetError):
        await write(gone, message)
