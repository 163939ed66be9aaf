"""The server's end of a WebSocket: uvicorn's own, and a way for messages to be taken, and sent, as they come.

ASGI hands each message over by a queue and a task, and stops reading until the task has it; what is sent passes as many
hands. For audio, fifty times a second and client, that costs more than what is done with the audio.
"""

from collections.abc import Callable
from typing import Any, Final

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

from gateway.listeners.closing import LINGER_S

EXTENSION: Final = "speech_to_speech.take"

Take = Callable[[bytes, bool], bool]


def take_at_once(websocket: WebSocket, take: Take) -> None:
    """Have *take* see every message of *websocket* first, in order: its bytes, and whether it is text.

    It returns whether it has used the message. One that it leaves comes by `websocket.receive`, and so do those that
    follow until the application has received all of them and waits for the next. *take* runs in the middle of reading
    and must not wait. With another server than ours nothing happens.
    """
    ours = websocket.scope.get("extensions", {}).get(EXTENSION)
    if ours is not None:
        ours["protocol"].take = take


def send_at_once(websocket: WebSocket, text: str) -> bool:
    """Write a text message if the connection is open and takes it now; return whether it did.

    What does not go is to be sent in the ordinary way: that waits for room, and tells of the end of the connection.
    """
    ours = websocket.scope.get("extensions", {}).get(EXTENSION)
    return ours is not None and ours["protocol"].send_now(text)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    take: Take | None = None
    _app_waits = False
    """Whether the application waits for a message and none is on its way to it: nothing can be overtaken then."""

    def handle_connect(self, event: Request) -> None:
        """Begin to serve; the application finds us in its scope."""
        super().handle_connect(event)
        if not self.close_sent and (extensions := self.scope.get("extensions")) is not None:
            extensions[EXTENSION] = {"protocol": self}

    def send_receive_event_to_app(self) -> None:
        """Hand a message over: at once if nothing is before it and it is taken, else by the queue."""
        frames = self.frames
        if (
            self._app_waits
            and self.take is not None
            and len(frames) == 1
            and self.take(frames[0], self.curr_msg_data_type == "text")
        ):
            frames.clear()
        else:
            self._app_waits = False
            super().send_receive_event_to_app()

    async def receive(self) -> Any:
        """Wait for the next message in the queue."""
        self._app_waits = True
        try:
            return await super().receive()
        finally:
            self._app_waits = False

    def send_now(self, text: str) -> bool:
        """Write a text message, if nothing stands in its way.

        The state is OPEN from the answer to the handshake until a closing frame is sent or has come, or what comes
        cannot be read; of a connection that is lost only the transport knows.
        """
        if self.conn.state is not State.OPEN or not self.writable.is_set() or self.transport.is_closing():
            return False
        self.conn.send_text(text.encode())
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    async def run_asgi(self) -> None:
        """Serve. A client that does not read would keep the connection for ever."""
        await super().run_asgi()
        self.take = None
        self.loop.call_later(LINGER_S, self.transport.abort)
