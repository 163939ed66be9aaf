"""A job is one lease of a service: a session (vad), a turn (asr) or a response (llm, tts).

Its life is that of the lease: the opening frame admits it; traffic and renewals keep it; it ends when its work is done,
when it is cancelled, when its session closes, when its deadline passes, or when nothing has renewed it for its time to
live.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import Any, Final

from bus.errors import OverloadedError
from bus.frames import Frame, Header, answer

# Five minutes of 16 kHz pcm: no turn is longer. A job whose queue is full fails with OVERLOADED.
QUEUE_BYTES: Final = 10 * 1024 * 1024


class Scope(Enum):
    """What one lease stands for, and by which ids of the header its frames are found."""

    SESSION = "session"
    TURN = "turn"
    RESPONSE = "response"


JobKey = tuple[str, str | int]


def key_of(scope: Scope, header: Header) -> JobKey:
    """Return the key of the lease that *header* belongs to."""
    match scope:
        case Scope.SESSION:
            return header.session_id, ""
        case Scope.TURN:
            return header.session_id, header.turn_id
        case Scope.RESPONSE:
            return header.session_id, header.response_id


class Job:
    """One lease with its frames in order.

    *send* takes an address and a frame; *ended* takes the job and what went wrong, None if nothing did.
    """

    def __init__(
        self,
        key: JobKey,
        header: Header,
        now: float,
        *,
        send: Callable[[str, Frame], None],
        ended: Callable[["Job", Exception | None], None],
    ) -> None:
        self.key = key
        self.header = header
        self.reply_to = header.reply_to
        self.next = header.next
        self.opened_at = now
        self.renewed_at = now
        self.deadline_at = now + header.deadline_ms / 1000 if header.deadline_ms else None
        self.closed = False
        self.owed_since: float | None = None
        """For handlers that keep what waits elsewhere: the loop time since when work is owed; None: nothing waits."""
        self._send = send
        self._ended = ended
        self._waiting: deque[tuple[str, Frame, float]] = deque()
        self._waiting_bytes = 0
        self._wake: asyncio.Future[None] | None = None

    @property
    def session_id(self) -> str:
        """The client's connection this job works for."""
        return self.header.session_id

    def reply(self, **body: Any) -> None:
        """Send one body to the gateway. Nothing is sent after the job has closed."""
        if not self.closed:
            self._send(self.reply_to, answer(self.header, **body))

    def forward(self, **body: Any) -> None:
        """Send one body to the next service, which answers to the same gateway."""
        if not self.closed and self.next:
            self._send(self.next, answer(self.header, reply_to=self.reply_to, **body))

    def send(self, address: str, frame: Frame) -> None:
        """Send a frame made by the caller (one with stamps, say)."""
        if not self.closed:
            self._send(address, frame)

    def end(self, error: Exception | None = None) -> None:
        """Give the lease back: the work is done, or *error* stopped it and the gateway is told. Idempotent."""
        self._ended(self, error)

    def put(self, body: str, frame: Frame, now: float) -> None:
        """Queue *frame* for `frames`.

        Raises:
            OverloadedError: `QUEUE_BYTES` are waiting already.
        """
        size = frame.ByteSize()
        if self._waiting_bytes + size > QUEUE_BYTES:
            raise OverloadedError(f"{self._waiting_bytes} bytes are waiting for the engine")
        self._waiting.append((body, frame, now))
        self._waiting_bytes += size
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def waiting_since(self) -> float | None:
        """Return the loop time since when the oldest work waits, None if none does."""
        return self._waiting[0][2] if self._waiting else self.owed_since

    async def frames(self) -> AsyncIterator[tuple[str, Frame]]:
        """Yield the job's frames in order, the opening one first. Endless: leave the loop when the work is done."""
        while True:
            while self._waiting:
                body, frame, _ = self._waiting.popleft()
                self._waiting_bytes -= frame.ByteSize()
                yield body, frame
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
