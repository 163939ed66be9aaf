"""The session's audio clock, what the vad has not used yet, and what may have to be sent again."""

from collections import deque
from typing import Final

SAMPLE_RATE: Final = 16_000
BYTES_PER_MS: Final = SAMPLE_RATE * 2 // 1000
# The vad looks at windows of 512 samples (32 ms); blocks that end on a window's border cost it nothing, and a shorter
# block would only wait there instead of here.
WINDOW_BYTES: Final = 1024
# Silence after which a speaker may be about to end the turn: from then on no audio waits for more. That is known well
# before the turn ends if the silence that ends it is twice as long. (Six windows of Silero.)
PAUSE_MS: Final = 192
# Large messages travel in blocks of 16 windows (half a second), so that one client's file does not hold up the others.
BLOCK_BYTES: Final = 16 * WINDOW_BYTES
# How far the vad may be behind before the client is no longer read.
IN_FLIGHT_MS: Final = 4000
# Audio that the vad has used is kept so long: what it was still making up its mind about when it died, and the padding
# before a turn whose start is told late.
BACK_MS: Final = 2000
# And the audio of turns that have no text yet, of which so much: the vad ends a turn after two minutes.
KEPT_MS: Final = 180_000
# The protocol lets the vad use so much before it says so (AudioAck).
UNTOLD_MS: Final = 500


def pause_ms_before(silence_ms: int) -> int:
    """Return the pause to be told of before *silence_ms* of silence end a turn; 0: there is no time to tell."""
    return PAUSE_MS if silence_ms >= 2 * PAUSE_MS else 0


def to_ms(samples: int) -> int:
    """Convert a position on the audio clock."""
    return samples * 1000 // SAMPLE_RATE


class InputAudio:
    """Cuts input into blocks with positions, and keeps what may have to be sent again.

    That is what was not acknowledged (`IN_FLIGHT_MS` or so), `BACK_MS` before it, and all from `keep_from` on, at most
    `KEPT_MS`; the oldest is forgotten first.
    """

    def __init__(self) -> None:
        self._partial = b""  # less than a window
        self._sent = 0  # bytes since the session began
        self._consumed = 0
        self._blocks: deque[tuple[int, bytes]] = deque()
        self.keep_from: int | None = None
        """Where the oldest turn begins that has no text yet; None if there is none."""

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
        return self._sent - self._consumed < UNTOLD_MS * BYTES_PER_MS

    @property
    def full(self) -> bool:
        """Whether the vad is so far behind that no more should be read."""
        return self._sent - self._consumed >= IN_FLIGHT_MS * BYTES_PER_MS

    def push(self, pcm: bytes, *, in_full: bool = False) -> list[tuple[int, bytes]]:
        """Append *pcm* (s16le, whole samples); return (position, block) of the full windows that result.

        *in_full*: also of what is short of a window.
        """
        if self._partial:
            pcm = self._partial + pcm
        whole = len(pcm) if in_full else len(pcm) // WINDOW_BYTES * WINDOW_BYTES
        self._partial = pcm[whole:]
        return [self._block(pcm[start : min(start + BLOCK_BYTES, whole)]) for start in range(0, whole, BLOCK_BYTES)]

    def flush(self) -> list[tuple[int, bytes]]:
        """Return what is short of a window as a block, if there is any: something means this very position."""
        return self.push(b"", in_full=True)

    def _block(self, block: bytes) -> tuple[int, bytes]:
        position = self.at_sample
        self._sent += len(block)
        self._blocks.append((position, block))
        return position, block

    def consumed(self, at_sample: int) -> None:
        """Note what the vad has used. A position that was never sent is taken for all that was."""
        self._consumed = max(self._consumed, min(at_sample * 2, self._sent))
        keep = self._consumed - BACK_MS * BYTES_PER_MS
        if self.keep_from is not None:
            keep = max(min(keep, self.keep_from * 2), self._sent - KEPT_MS * BYTES_PER_MS)
        while self._blocks:
            position, block = self._blocks[0]
            if position * 2 + len(block) > min(keep, self._consumed):
                break
            self._blocks.popleft()

    def again(self, at_sample: int) -> list[tuple[int, bytes]]:
        """Go back to *at_sample*, or as far as audio is kept: return all from there on, for another vad."""
        at = min(at_sample * 2, self._consumed)
        if self._blocks:
            at = max(at, self._blocks[0][0] * 2)
        self._consumed = at
        return self._cut(at, self._sent)

    def between(self, start_sample: int, end_sample: int) -> tuple[int, bytes] | None:
        """Return (position, audio) of a turn; None if more than padding of it is not kept any more."""
        kept = self._blocks[0][0] if self._blocks else self.at_sample
        if to_ms(kept - start_sample) > BACK_MS:
            return None
        blocks = self._cut(max(start_sample, kept) * 2, end_sample * 2)
        return (blocks[0][0] if blocks else end_sample), b"".join(block for _, block in blocks)

    def forget(self) -> None:
        """Keep nothing any more: the session is over."""
        self._blocks.clear()
        self._partial = b""

    def _cut(self, start: int, end: int) -> list[tuple[int, bytes]]:
        """Return the blocks between two positions in bytes, cut to them."""
        found: list[tuple[int, bytes]] = []
        for position, block in self._blocks:
            first, last = max(start - position * 2, 0), min(end - position * 2, len(block))
            if first < last:
                found.append((position + first // 2, block[first:last]))
        return found
