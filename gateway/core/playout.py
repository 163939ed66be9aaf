"""What is being played: paced hand-over of an answer's audio, and how much of it has been heard.

A raw client plays what it gets, at once and at real time, and cannot be told to stop. So audio is handed over at most
`lead_ms` before it is due, and what has been heard is known from the clock alone: the client has played everything it
was given except what fits between now and the moment its buffer runs dry.
"""

from collections import deque
from typing import Final

from gateway.core.spoken import Spoken

# Audio is handed over in pieces of this length: short enough for a lead of 60 ms, long enough to be few.
PIECE_MS: Final = 20


class PlayOut:
    """The audio of one answer on its way to the client.

    It holds what the tts was granted beyond what was handed over: the session bounds it by its grants.
    """

    def __init__(self, sample_rate: int, lead_ms: float) -> None:
        self._bytes_per_ms = sample_rate * 2 / 1000
        self._piece_bytes = sample_rate * PIECE_MS // 1000 * 2
        self._lead_ms = lead_ms
        self._waiting: deque[bytes] = deque()
        self._spoken = Spoken()
        # Counted in bytes: sums of milliseconds would differ in the last place at 24 or 44.1 kHz, and cost a word.
        self._received_bytes = 0
        self._sent_bytes = 0
        self.dry_at_ms = 0.0
        """When the client will have played all that it has."""
        self.complete = False

    @property
    def received_ms(self) -> float:
        """Audio received of the tts so far."""
        return self._received_bytes / self._bytes_per_ms

    @property
    def sent_ms(self) -> float:
        """Audio handed over so far."""
        return self._sent_bytes / self._bytes_per_ms

    @property
    def drained(self) -> bool:
        """Whether all of the answer has been handed over."""
        return self.complete and not self._waiting

    def feed(self, pcm: bytes, text: str) -> None:
        """Append audio; *text* is the clause that begins with it, if one does."""
        self._spoken.begin(text, self.received_ms)
        self._received_bytes += len(pcm)
        self._spoken.reach(self.received_ms)
        for start in range(0, len(pcm), self._piece_bytes):
            self._waiting.append(pcm[start : start + self._piece_bytes])

    def take(self, now_ms: float) -> bytes:
        """Return what is due, b"" if nothing is."""
        due: list[bytes] = []
        while (due_ms := self.next_due_ms()) is not None and now_ms >= due_ms:
            piece = self._waiting.popleft()
            due.append(piece)
            self._sent_bytes += len(piece)
            self.dry_at_ms = max(self.dry_at_ms, now_ms) + len(piece) / self._bytes_per_ms
        return b"".join(due)

    def next_due_ms(self) -> float | None:
        """Return when `take` will next give something, None if there is nothing to give."""
        return self.dry_at_ms - self._lead_ms + PIECE_MS if self._waiting else None

    def stop(self) -> None:
        """Forget what was not handed over."""
        self._waiting.clear()
        self.complete = True

    def heard_ms(self, now_ms: float) -> float:
        """Return how much of the answer has been played to the user."""
        return self.sent_ms - max(0.0, self.dry_at_ms - now_ms)

    def heard_text(self, now_ms: float) -> str:
        """Return the text of what has been heard; of a clause in the middle, the words that fit the time."""
        return self._spoken.until(self.heard_ms(now_ms))
