"""How the connections of clients are closed: the codes of WebSockets, what they say, how long it may take."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

# Of RFC 6455 (7.4.1) and its registry.
GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
INTERNAL_ERROR: Final = 1011
TRY_AGAIN_LATER: Final = 1013

MAX_REASON_BYTES: Final = 123  # RFC 6455, 5.5
# What is left to write when a connection is closed has so long: a client that does not read would keep it for ever.
LINGER_S: Final = 5.0


async def close(websocket: WebSocket, code: int, reason: str) -> None:
    """Close *websocket*, whatever its client has done meanwhile. Of a long *reason* only what fits is said."""
    if websocket.client_state is WebSocketState.DISCONNECTED:
        return
    with suppress(
        WebSocketDisconnect, RuntimeError, OSError
    ):  # closed by the other side meanwhile, or nothing more can be written
        async with asyncio.timeout(LINGER_S):
            await websocket.close(code, fitting(reason))


def fitting(reason: str) -> str:
    """Return as much of *reason* as a closing frame has room for."""
    return reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
