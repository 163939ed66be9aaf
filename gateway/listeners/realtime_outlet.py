"""What waits to be written to one Realtime client, in order."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

# The core lets an answer's audio run ahead of real time by a bounded lead, less than 4 MB of base64; a client that
# leaves this much unread does not read at all.
WAITING_BYTES: Final = 16 * 1024 * 1024
WAITING_FRAMES: Final = 20_000


class RealtimeOutlet:
    """Writes frames to one client: at once by *write_now*, which may say no, or from a task of its own by *write*.

    Audio of a response can be dropped, nothing else is. At most `WAITING_BYTES` and `WAITING_FRAMES` wait; beyond that
    *full* is called once and what comes is not kept: the connection is of no use any more.
    """

    def __init__(
        self,
        write: Callable[[str], Awaitable[None]],
        full: Callable[[], None],
        write_now: Callable[[str], bool],
    ) -> None:
        self._write = write
        self._write_now = write_now
        self._writing = False
        self._tell_full = full
        self._waiting: deque[tuple[str, str | None]] = deque()
        self._bytes = 0
        self._full = False
        self._more = asyncio.Event()
        self._ended = False

    def put(self, frame: str, audio_of: str | None = None) -> None:
        """Write *frame*, or queue it behind what waits; *audio_of* is the response whose audio it holds, if any."""
        if self._full or self._ended:
            return
        if not self._waiting and not self._writing and self._write_now(frame):
            return
        self._bytes += len(frame)
        self._waiting.append((frame, audio_of))
        self._more.set()
        if self._bytes > WAITING_BYTES or len(self._waiting) > WAITING_FRAMES:
            self._full = True
            self._tell_full()

    def drop_audio(self, response_id: str) -> None:
        """Forget what has not been written of a response's audio: it was cancelled."""
        self._waiting = deque(item for item in self._waiting if item[1] != response_id)
        self._bytes = sum(len(frame) for frame, _ in self._waiting)

    def end(self) -> None:
        """Take no more; let `run` return when everything is written."""
        self._ended = True
        self._more.set()

    async def run(self) -> None:
        """Write until `end`. Raises what *write* raises."""
        while self._waiting or not self._ended:
            if not self._waiting:
                self._more.clear()
                await self._more.wait()
                continue
            frame, _ = self._waiting.popleft()
            self._bytes -= len(frame)
            self._writing = True
            await self._write(frame)
            self._writing = False
