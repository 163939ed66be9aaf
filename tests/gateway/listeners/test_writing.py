"""A message to a WebSocket is written, or the connection is known to be closed."""

from typing import Any

import pytest
from starlette.websockets import WebSocket

from gateway.listeners.writing import write


def websocket(sent: list[Any], *, closed: bool) -> WebSocket:
    """Return an accepted WebSocket of a server that keeps what it is given, or says that it is *closed*."""

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        if closed and message["type"] == "websocket.send":
            raise RuntimeError("Unexpected ASGI message 'websocket.send', after sending 'websocket.close'")
        sent.append(message.get("bytes") or message.get("text"))

    return WebSocket({"type": "websocket", "headers": []}, receive, send)


async def test_bytes_and_text_are_sent_as_what_they_are() -> None:
    sent: list[Any] = []
    open_one = websocket(sent, closed=False)
    await open_one.accept()
    await write(open_one, b"pcm")
    await write(open_one, "event")
    assert sent[1:] == [b"pcm", "event"]


@pytest.mark.parametrize("message", [b"pcm", "event"])
async def test_a_connection_that_is_closed_is_no_bug(message: bytes | str) -> None:
    gone = websocket([], closed=True)
    await gone.accept()
    with pytest.raises(ConnectionResetError):
        await write(gone, message)
