"""Puts the speech of one turn together by its position on the session's audio clock.

Frames may come twice (sent again), overlap, or arrive before an earlier one. What was used is never used again; what
came too early waits for the piece before it.
"""

import heapq
from typing import Final

from bus.errors import InvalidRequestError, OverloadedError

SAMPLE_RATE: Final = 16_000
SAMPLE_BYTES: Final = 2
# A second or two may overtake when a turn is sent again; half a minute means that its beginning is lost.
AHEAD_SAMPLES: Final = 30 * SAMPLE_RATE
# As long as a job may have waiting (bus.jobs.QUEUE_BYTES); the vad ends a turn long before.
TURN_SAMPLES: Final = 5 * 60 * SAMPLE_RATE


class Assembly:
    """The audio of one turn.

    Holds at most `AHEAD_SAMPLES` that came too early; more is an error, as is a turn longer than `TURN_SAMPLES`. The
    first frame says where the turn begins; what lies before is not part of it.
    """

    def __init__(self) -> None:
        self._begin: int | None = None
        self._next = 0
        self._end: int | None = None
        self._ahead: list[tuple[int, bytes]] = []
        self._ahead_bytes = 0

    @property
    def complete(self) -> bool:
        """Whether the turn has ended and nothing of it is missing."""
        return self._end is not None and self._next >= self._end

    @property
    def gap(self) -> bool:
        """Whether a piece is missing before something that has come."""
        return bool(self._ahead) or (self._end is not None and not self.complete)

    @property
    def samples(self) -> int:
        """How many samples have been given out."""
        return self._next - (self._begin or 0)

    def add(self, pcm: bytes, at_sample: int, *, last: bool) -> bytes:
        """Take one frame; return the audio that can be used now, in order.

        Raises:
            InvalidRequestError: half a sample, or the turn is too long for anybody.
            OverloadedError: too much came ahead of a missing piece.
        """
        if len(pcm) % SAMPLE_BYTES:
            raise InvalidRequestError(f"pcm of {len(pcm)} bytes: an odd number is not whole 16-bit samples")
        if self._begin is None:
            self._begin = self._next = at_sample
        if last and self._end is None:
            self._end = at_sample + len(pcm) // SAMPLE_BYTES
        if pcm:
            self._keep(pcm, at_sample)
        usable = self._take()
        if self.samples > TURN_SAMPLES:
            raise InvalidRequestError(f"a turn of more than {TURN_SAMPLES // SAMPLE_RATE} s")
        return usable

    def _keep(self, pcm: bytes, at_sample: int) -> None:
        if at_sample > self._next:
            self._ahead_bytes += len(pcm)
        heapq.heappush(self._ahead, (at_sample, pcm))
        if self._ahead_bytes > AHEAD_SAMPLES * SAMPLE_BYTES:
            raise OverloadedError(f"more than {AHEAD_SAMPLES // SAMPLE_RATE} s of audio came before what precedes it")

    def _take(self) -> bytes:
        usable = []
        while self._ahead and self._ahead[0][0] <= self._next:
            at_sample, pcm = heapq.heappop(self._ahead)
            fresh = pcm[(self._next - at_sample) * SAMPLE_BYTES :]
            usable.append(fresh)
            self._next += len(fresh) // SAMPLE_BYTES
        self._ahead_bytes = sum(len(pcm) for _, pcm in self._ahead)
        return b"".join(usable)
