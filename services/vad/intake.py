"""What has arrived for one session and is not used yet: audio, and the frames that stand between it.

Order is by position: a commit that came after two seconds of audio takes effect when these have been heard, however
long that takes. Positions inside are those of the tape (from 0, without gaps); on the bus they are the session's.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import structlog

from bus.errors import InvalidRequestError, OverloadedError
from bus.frames import Frame, Header
from bus.logs import OncePerSecond
from services.vad import metrics
from services.vad.endpointing import SAMPLES_PER_MS
from services.vad.requests import position_of
from services.vad.tape import SAMPLE_BYTES, Tape

log = structlog.get_logger(__name__)

# Audio that may wait. Gateways keep 4 s in flight (by AudioAck): who sends more does not listen.
MOST_WAITING: Final = 8_000 * SAMPLES_PER_MS
# Commits, clears and updates that may wait.
MOST_MARKS: Final = 64
# A hole up to this long is taken for lost frames and filled with silence. A longer one is jumped over.
MOST_FILLED: Final = 1_000 * SAMPLES_PER_MS
# Headers of frames shorter than this are joined, so that their number is bounded by the audio's.
LEAST_ARRIVAL: Final = 10 * SAMPLES_PER_MS
LOG_LIMIT: Final = OncePerSecond()


@dataclass(slots=True)
class Arrival:
    """An Audio frame's header and the stretch of tape it filled."""

    start: int
    end: int
    header: Header


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that takes effect at a position of the tape: a control frame, or a jump of the session's clock."""

    at: int
    body: str
    frame: Frame
    jump: int = 0  # samples that the clock skips


class Intake:
    """Bounded: `MOST_WAITING` samples and `MOST_MARKS` marks; beyond them the session fails as overloaded."""

    def __init__(self, header: Header, at_sample: int) -> None:
        self.tape = Tape()
        self.consumed = 0
        self.header = header  # of the audio consumed last
        self._offset = at_sample  # session clock minus tape, for what is consumed
        self._offset_in = at_sample  # the same for what arrives
        self._arrivals: deque[Arrival] = deque()
        self._marks: deque[Mark] = deque()

    @property
    def waiting(self) -> int:
        """Samples that are not consumed."""
        return self.tape.end - self.consumed

    @property
    def until(self) -> int:
        """How far the audio may be consumed before the next mark takes effect."""
        return self._marks[0].at if self._marks else self.tape.end

    def on_clock(self, position: int) -> int:
        """Return the session's time of a tape *position*."""
        return position + self._offset

    def put_audio(self, frame: Frame) -> None:
        """Take a stretch of audio: cut what came before, fill a short hole, jump over a long one.

        Raises:
            InvalidRequestError: a sample is torn, or the position cannot be.
            OverloadedError: too much is waiting.
        """
        pcm = frame.audio.pcm
        if len(pcm) % SAMPLE_BYTES:
            raise InvalidRequestError(f"{len(pcm)} bytes of 16-bit audio: a sample is torn")
        missing = position_of(frame.audio.at_sample) - (self.tape.end + self._offset_in)
        if missing < 0:
            repeated = min(-missing, len(pcm) // SAMPLE_BYTES)
            metrics.REPEATED_SAMPLES.inc(repeated)
            pcm = pcm[repeated * SAMPLE_BYTES :]
        if not pcm:
            return
        filled = missing if 0 < missing <= MOST_FILLED else 0
        if self.waiting + filled + len(pcm) // SAMPLE_BYTES > MOST_WAITING:
            raise OverloadedError(f"more than {MOST_WAITING // SAMPLES_PER_MS} ms of audio are waiting")
        start = self.tape.end
        if filled:
            self._note_missing("filled", missing, frame)
            self.tape.append(bytes(filled * SAMPLE_BYTES))
        elif missing > 0:
            self._note_missing("jumped", missing, frame)
            self._put_mark(Mark(start, "audio", frame, jump=missing))
            self._offset_in += missing
        self.tape.append(pcm)
        self._arrived(start, frame.header)

    def put_control(self, body: str, frame: Frame, at_sample: int = 0) -> None:
        """Let *frame* take effect at *at_sample*, or after all audio that has come (0, or a time that has not come).

        Raises:
            OverloadedError: too many are waiting.
        """
        at = self.tape.end
        if at_sample:
            at = min(at, at_sample - self._offset_in)
        earliest = self._marks[-1].at if self._marks else self.consumed
        self._put_mark(Mark(max(at, earliest), body, frame))

    def next_mark(self) -> Mark | None:
        """Return the mark that takes effect next, None if there is none."""
        return self._marks[0] if self._marks else None

    def pass_mark(self) -> None:
        """Drop the next mark, which has taken effect; the clock jumps if it says so."""
        self._offset += self._marks.popleft().jump

    def consume(self, end: int) -> None:
        """Take note that the audio up to *end* has been heard."""
        self.consumed = end
        arrivals = self._arrivals
        while arrivals and arrivals[0].end < end:
            arrivals.popleft()
        if arrivals:
            self.header = arrivals[0].header

    def _put_mark(self, mark: Mark) -> None:
        if len(self._marks) >= MOST_MARKS:
            raise OverloadedError(f"more than {MOST_MARKS} control frames are waiting")
        self._marks.append(mark)

    def _arrived(self, start: int, header: Header) -> None:
        last = self._arrivals[-1] if self._arrivals else None
        if last is not None and last.end - last.start < LEAST_ARRIVAL:
            last.end, last.header = self.tape.end, header
        else:
            self._arrivals.append(Arrival(start, self.tape.end, header))

    def _note_missing(self, outcome: str, samples: int, frame: Frame) -> None:
        metrics.MISSING_SAMPLES.labels(outcome).inc(samples)
        more = LOG_LIMIT.held_back(outcome)
        if more is not None:
            session_id, ms = frame.header.session_id, samples // SAMPLES_PER_MS
            log.warning("audio is missing", session=session_id, ms=ms, outcome=outcome, more=more)
