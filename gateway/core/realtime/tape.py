"""The client's audio as it came, for the items that keep it, and the client's clock."""

from collections import deque
from typing import Final

# Stretches of silence remembered one by one; positions before them are no longer asked for.
REMEMBERED: Final = 64
# Less is joined to what came before it; 20 ms of 16 or 24 kHz (640 and 960 bytes) are kept as they came.
SMALL_BYTES: Final = 512


class Tape:
    """Audio in the session's input format, found by its place on the session's audio clock (ms).

    Holds what lies after the place given to `forget_before`, and never more than *most_ms*: the oldest is forgotten.
    However small the pieces in which audio comes, of two neighbours that are held one has `SMALL_BYTES` or more: there
    are at most two for each `SMALL_BYTES` of audio, and they take less than a third more memory than the audio itself.
    """

    def __init__(self, bytes_per_ms: float, sample_bytes: int, most_ms: float) -> None:
        self._most_ms = most_ms
        # As it came: to join all would cost more than all else that is done with it. Small pieces are in bytearrays.
        self._held: deque[bytes | bytearray] = deque()
        self._skipped = 0  # bytes of the first piece that are forgotten
        self._bytes = 0  # held, without them
        self._start_ms = 0.0
        self._end_ms = 0.0
        self._bytes_per_ms = bytes_per_ms
        self._sample_bytes = sample_bytes

    @property
    def start_ms(self) -> float:
        """Where what is held begins."""
        return self._start_ms

    @property
    def end_ms(self) -> float:
        """Where the audio ends."""
        return self._end_ms

    def use_format(self, bytes_per_ms: float, sample_bytes: int) -> None:
        """Take another format from now on. What was held is forgotten."""
        self._held.clear()
        self._skipped = self._bytes = 0
        self._start_ms = self._end_ms
        self._bytes_per_ms = bytes_per_ms
        self._sample_bytes = sample_bytes

    def append(self, audio: bytes) -> None:
        """Append audio."""
        if len(audio) >= SMALL_BYTES:
            self._held.append(audio)
        elif self._held and isinstance(last := self._held[-1], bytearray) and len(last) < SMALL_BYTES:
            last += audio
        else:
            self._held.append(bytearray(audio))
        self._bytes += len(audio)
        self._end_ms += len(audio) / self._bytes_per_ms
        if self._end_ms - self._start_ms > self._most_ms:
            self.forget_before(self._end_ms - self._most_ms)

    def forget_before(self, place_ms: float) -> None:
        """Forget what lies before."""
        size = self._size(place_ms)
        if size > 0:
            self._bytes -= size
            self._skipped += size
            while self._held and self._skipped >= len(self._held[0]):
                self._skipped -= len(self._held.popleft())
            self._start_ms += size / self._bytes_per_ms

    def read(self, start_ms: float, end_ms: float) -> bytes:
        """Return what is held between two places."""
        begin, end = self._size(start_ms) + self._skipped, self._size(end_ms) + self._skipped
        pieces: list[bytes | bytearray] = []
        for piece in self._held:
            if end <= 0:
                break
            if begin < len(piece):
                pieces.append(piece[max(begin, 0) : end])
            begin -= len(piece)
            end -= len(piece)
        return b"".join(pieces)

    def _size(self, place_ms: float) -> int:
        samples = round((place_ms - self._start_ms) * self._bytes_per_ms / self._sample_bytes)
        return max(0, min(samples * self._sample_bytes, self._bytes))


class ClientClock:
    """Turns places on our audio clock into the client's: less the silence that was put in its place."""

    def __init__(self) -> None:
        self._before_ms = 0.0
        self._silences: deque[tuple[float, float]] = deque()

    def skip(self, place_ms: float, length_ms: float) -> None:
        """Note silence that the client did not send."""
        self._silences.append((place_ms, length_ms))
        if len(self._silences) > REMEMBERED:
            self._before_ms += self._silences.popleft()[1]

    def told(self, place_ms: float) -> int:
        """Return *place_ms* as the client counts."""
        inside = sum(max(0.0, min(length, place_ms - place)) for place, length in self._silences)
        return max(0, int(place_ms - self._before_ms - inside))
