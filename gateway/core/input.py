"""The session's audio clock and what the vad has not used yet."""

from collections import deque
from collections.abc import Iterator
from typing import Final

SAMPLE_RATE: Final = 16_000
BYTES_PER_MS: Final = SAMPLE_RATE * 2 // 1000
# The vad looks at windows of 512 samples (32 ms); blocks that end on a window's border cost it nothing, and a shorter
# block would only wait there instead of here.
WINDOW_BYTES: Final = 1024
# Large messages travel in blocks of 16 windows (half a second), so that one client's file does not hold up the others.
BLOCK_BYTES: Final = 16 * WINDOW_BYTES
# How far the vad may be behind before the client is no longer read.
IN_FLIGHT_MS: Final = 4000
# The protocol lets the vad use so much before it says so (AudioAck).
UNTOLD_MS: Final = 500


def to_ms(samples: int) -> int:
    """Convert a position on the audio clock."""
    return samples * 1000 // SAMPLE_RATE


class InputAudio:
    """Cuts input into blocks with positions; keeps those that were not acknowledged, at most `IN_FLIGHT_MS` or so."""

    def __init__(self) -> None:
        self._partial = bytearray()
        self._sent = 0  # bytes since the session began
        self._consumed = 0
        self._unacknowledged: deque[tuple[int, bytes]] = deque()

    @property
    def at_sample(self) -> int:
        """Position of the next sample to be sent."""
        return self._sent // 2

    @property
    def consumed_sample(self) -> int:
        """Position up to which the vad has used everything."""
        return self._consumed // 2

    @property
    def in_flight_ms(self) -> float:
        """How much the vad has been sent and has not acknowledged."""
        return (self._sent - self._consumed) / BYTES_PER_MS

    @property
    def caught_up(self) -> bool:
        """Whether the vad may have used everything: it need not acknowledge the last of it."""
        return self.in_flight_ms < UNTOLD_MS

    @property
    def full(self) -> bool:
        """Whether the vad is so far behind that no more should be read."""
        return self.in_flight_ms >= IN_FLIGHT_MS

    def push(self, pcm: bytes) -> Iterator[tuple[int, bytes]]:
        """Append *pcm* (s16le, whole samples); yield (position, block) for every full window that results."""
        self._partial += pcm
        whole = len(self._partial) // WINDOW_BYTES * WINDOW_BYTES
        if not whole:
            return
        ready = bytes(self._partial[:whole])
        del self._partial[:whole]
        for start in range(0, whole, BLOCK_BYTES):
            yield self._block(ready[start : start + BLOCK_BYTES])

    def flush(self) -> list[tuple[int, bytes]]:
        """Return what is short of a window as a block, if there is any: something means this very position."""
        if not self._partial:
            return []
        block = bytes(self._partial)
        self._partial.clear()
        return [self._block(block)]

    def _block(self, block: bytes) -> tuple[int, bytes]:
        position = self.at_sample
        self._sent += len(block)
        self._unacknowledged.append((position, block))
        return position, block

    def consumed(self, at_sample: int) -> None:
        """Forget what the vad has used. A position that was never sent is taken for all that was."""
        self._consumed = max(self._consumed, min(at_sample * 2, self._sent))
        while self._unacknowledged:
            position, block = self._unacknowledged[0]
            if position * 2 + len(block) > self._consumed:
                break
            self._unacknowledged.popleft()

    def again(self) -> list[tuple[int, bytes]]:
        """Return what the vad has not used, with positions: another one gets it again."""
        again = list(self._unacknowledged)
        if again:  # the first block may have been used in part
            position, block = again[0]
            used = max(0, self._consumed - position * 2)
            again[0] = position + used // 2, block[used:]
        return again
