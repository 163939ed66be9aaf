"""Writes one message to a WebSocket."""

from starlette.websockets import WebSocket, WebSocketDisconnect


async def write(websocket: WebSocket, message: bytes | str) -> None:
    """Send *message* and wait until the transport has room.

    Raises:
        ConnectionResetError: the connection is closed, or was lost. Of the first the server says so by a bare
            RuntimeError, as it does of bugs; here it can mean nothing else.
    """
    try:
        await (websocket.send_bytes(message) if isinstance(message, bytes) else websocket.send_text(message))
    except (RuntimeError, WebSocketDisconnect) as error:
        raise ConnectionResetError("closed") from error
