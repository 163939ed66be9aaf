"""The server's end of a WebSocket: uvicorn's own, and a way for messages to be taken as they arrive.

ASGI hands each message over by a queue and a task, and stops reading until the task has it. For audio, fifty times a
second and client, that costs more than what is done with the audio.
"""

from collections.abc import Callable
from typing import Final

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

# What is left to write when a connection is closed has so long: a client that does not read would keep it for ever.
LINGER_S: Final = 5.0
EXTENSION: Final = "speech_to_speech.take"

Take = Callable[[bytes, bool], bool]


def take_at_once(websocket: WebSocket, take: Take) -> None:
    """Have *take* see every message of *websocket* first, in order: its bytes, and whether it is text.

    It returns whether it has used the message. One that it leaves comes by `websocket.receive`, and so do those that
    follow, until all of them have been received; *take* is to refuse while the application is busy with one of them.
    It runs in the middle of reading and must not wait. With another server than ours nothing happens.
    """
    ours = websocket.scope.get("extensions", {}).get(EXTENSION)
    if ours is not None:
        ours["protocol"].take = take


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    take: Take | None = None

    def handle_connect(self, event: Request) -> None:
        """Begin to serve; the application finds us in its scope."""
        super().handle_connect(event)
        if not self.close_sent and (extensions := self.scope.get("extensions")) is not None:
            extensions[EXTENSION] = {"protocol": self}

    def send_receive_event_to_app(self) -> None:
        """Hand a message over: at once if nothing is before it and it is taken, else by the queue."""
        frames = self.frames
        if (
            self.take is not None
            and not self.read_paused
            and not self.close_sent
            and len(frames) == 1
            and self.take(frames[0], self.curr_msg_data_type == "text")
        ):
            frames.clear()
        else:
            super().send_receive_event_to_app()

    async def run_asgi(self) -> None:
        """Serve. A client that does not read would keep the connection for ever."""
        await super().run_asgi()
        self.take = None
        self.loop.call_later(LINGER_S, self.transport.abort)
