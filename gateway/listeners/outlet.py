"""What waits to be written to one client, in order."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

# The core hands audio over at most its lead before it is due, so more than this waiting means that the client or its
# line does not take it. The core then stops; what it holds back is bounded by the grants of the tts.
BACKLOG_BYTES: Final = 32_000
# Events are small and few; a client that leaves so many unread gets no more of them.
EVENTS_WAITING: Final = 1000


class Outlet:
    """Writes audio (bytes) and events (str) to one client from a task of its own.

    At most `BACKLOG_BYTES` of audio and what was handed over at once wait here (the core stops above that), and at most
    `EVENTS_WAITING` events, after which events are dropped. *write* sends one item and waits until the transport has
    room; *backlog* hears the milliseconds of audio waiting when they exceed the bound, and 0 when all is written. What
    is being written is no longer counted.
    """

    def __init__(self, write: Callable[[bytes | str], Awaitable[None]], backlog: Callable[[float], None]) -> None:
        self._write = write
        self._tell_backlog = backlog
        self._waiting: deque[bytes | str] = deque()
        self._audio_bytes = 0
        self._events = 0
        self._full = False
        self._more = asyncio.Event()
        self._ended = False

    def put(self, item: bytes | str) -> None:
        """Queue *item*."""
        if isinstance(item, str):
            if self._events >= EVENTS_WAITING:
                return
            self._events += 1
        else:
            self._audio_bytes += len(item)
            if self._audio_bytes > BACKLOG_BYTES and not self._full:
                self._full = True
                self._tell_backlog(self._audio_bytes / 32)
        self._waiting.append(item)
        self._more.set()

    def drop_audio(self) -> int:
        """Forget the audio that has not been written: the user speaks over it. Return how many bytes that were."""
        self._waiting = deque(item for item in self._waiting if isinstance(item, str))
        dropped, self._audio_bytes = self._audio_bytes, 0
        self._flows()
        return dropped

    def end(self) -> None:
        """Let `run` return when everything is written."""
        self._ended = True
        self._more.set()

    async def run(self) -> None:
        """Write until `end`. Raises what *write* raises."""
        while self._waiting or not self._ended:
            if not self._waiting:
                self._more.clear()
                await self._more.wait()
                continue
            item = self._waiting.popleft()
            if isinstance(item, str):
                self._events -= 1
            else:
                self._audio_bytes -= len(item)
            await self._write(item)
            if not self._audio_bytes:
                self._flows()

    def _flows(self) -> None:
        if self._full:
            self._full = False
            self._tell_backlog(0.0)
