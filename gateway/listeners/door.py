"""The door of the web port: how many may stand in it, how long, and how much they may say there.

A connection has `REQUEST_S` to make its request and to be answered, then as long again for the next one, however
slowly its bytes drip; a WebSocket that has been opened is through the door. Beyond the number that the configuration
allows (`limit_concurrency`), who comes is sent away at once.
"""

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.metrics import SESSIONS_REFUSED

# Far more than any request here takes, also on a bad line; uvicorn itself waits for ever.
REQUEST_S: Final = 20.0
# Request line and headers together. Keys in headers may be long tokens.
HEADER_BYTES: Final = 32 * 1024
# Connections beyond those of `max_sessions`: health checks, requests for keys, clients that are being refused.
SPARE: Final = 512

_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n"


class Door(H11Protocol):
    """HTTP of one connection, until it has become a WebSocket."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let in who comes, or send them away if too many are here."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency:
            SESSIONS_REFUSED.labels("too many connections").inc()
            transport.write(_FULL)
            transport.close()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._wait_no_more()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over: as a WebSocket it may stay."""
        self._wait_no_more()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request; close at once if it came while another was being answered."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # whoever makes that answer is not to write it any more
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # the head of that answer is out already
            self.transport.close()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._wait_no_more()
        if not self.transport.is_closing():
            self._wait()
        super().on_response_complete()

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
