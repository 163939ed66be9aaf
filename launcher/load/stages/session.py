"""What sessions with a service share, whatever its role: ids, headers, refusals, errors, what nobody asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from bus.frames import Frame, Header
from launcher.load.clock import Clock
from launcher.load.findings import Findings
from launcher.load.peer import Peer
from launcher.load.schedule import Turn, Visit
from launcher.load.speech import Phrase
from proto.v1 import speech_pb2 as pb

# What was on its way when a session was closed may still come within this.
SILENT_AFTER_MS: Final = 1_000

# Promises of proto/README.md, as they are named when they are broken.
STRANGER: Final = "answers name sessions and work that were asked for"
AFTER_END: Final = "nothing of a lease follows its end"
AFTER_CLOSE: Final = "a closed session is silent"
UNEXPECTED: Final = "a role sends its own bodies only"


@dataclass(frozen=True, slots=True)
class Line:
    """What every session of a process uses. *run* makes ids unique among runs; *chunk_ms*: audio in a frame."""

    peer: Peer
    address: str
    clock: Clock
    findings: Findings
    phrases: Sequence[Phrase]
    chunk_ms: int
    run: str


class StageSession:
    """One visit to a service. `begin` it, give it the frames that come, `settle` it when the run is over."""

    role: ClassVar[pb.Role.ValueType]

    def __init__(self, line: Line, visit: Visit) -> None:
        self.line = line
        self.visit = visit
        self.findings = line.findings
        self.session_id = f"load-{line.run}-{visit.seat}-{visit.number}"
        self._closed_ms: float | None = None

    def begin(self) -> None:
        """Have the clock do everything that the visit's schedule says."""
        line, visit = self.line, self.visit
        line.peer.hold(line.address, self.session_id)
        for number, turn in enumerate(visit.turns, 1):
            line.clock.at(visit.begins_ms + self.speaks_ms(turn), self._turn_due(number, turn))
        if visit.hangs_up:
            line.clock.at(visit.begins_ms + visit.length_ms, lambda _: self.close("the client hung up"))

    def speaks_ms(self, turn: Turn) -> int:
        """Return when the work of *turn* begins, in ms of the visit."""
        return turn.end_ms

    def turn(self, number: int, turn: Turn, due_ms: float) -> None:
        """Begin the work of *turn*, the visit's *number*-th (from 1), due at *due_ms* of the run."""
        raise NotImplementedError

    def answer(self, body: str, frame: Frame, now_ms: float) -> None:
        """Take a frame of this role."""
        raise NotImplementedError

    @property
    def settled(self) -> bool:
        """Whether everything that is waited for has come, or has failed."""
        raise NotImplementedError

    def settle(self) -> None:
        """Count what was answered and what never came."""
        raise NotImplementedError

    def settle_unasked(self, asked: int) -> None:
        """Count the turns behind the first *asked*: a generator that did not get to them must not hide them."""
        for turn in self.visit.turns[asked:]:
            if not turn.abandoned:
                self.findings.counts["turns"] += 1
                self.findings.error("not asked: the generator was too late")

    def hear(self, body: str, frame: Frame, now_ms: float) -> None:
        """Take a frame of this session."""
        if self._closed_ms is not None:
            if now_ms - self._closed_ms > SILENT_AFTER_MS:
                self.findings.breaks(AFTER_CLOSE, f"{body} after {now_ms - self._closed_ms:.0f} ms")
            return
        if body != "progress":
            self.answer(body, frame, now_ms)

    def close(self, reason: str) -> None:
        """Give every place of the session back. Idempotent."""
        if self._closed_ms is None:
            self._closed_ms = self.line.clock.now_ms()
            self.line.peer.let_go(self.line.address, self.session_id)
            self.send(self.header(), session_close=pb.SessionClose(reason=reason))

    def header(self, **ids: Any) -> Header:
        """Return a header of this session with more *ids*."""
        return Header(session_id=self.session_id, **ids)

    def send(self, header: Header, /, **body: Any) -> None:
        """Send one body to the service."""
        self.line.peer.ask(self.line.address, header, **body)

    def failed(self, body: str, frame: Frame) -> bool:
        """Count a refusal or an error; tell whether *frame* ended what its header names."""
        if body == "refusal":
            reason = frame.refusal.WhichOneof("reason")
            self.findings.counts["refused"] += 1
            self.findings.error("refused: at capacity" if reason == "at_capacity" else "refused: not ready")
            return True
        code = pb.Error.Code.Name(frame.error.code)
        self.findings.error(f"error: {code}", frame.error.message)
        return frame.error.code not in (pb.Error.BAD_FRAME, pb.Error.UNKNOWN_SESSION)

    def _turn_due(self, number: int, turn: Turn) -> Any:
        def due(due_ms: float) -> None:
            if self._closed_ms is None:
                self.turn(number, turn, due_ms)

        return due


def stamps_of(frame: Frame, clock: Clock) -> dict[int, float]:
    """Return when, in ms of the run, the work behind *frame* passed which stage. Needs clocks that agree."""
    return {stamp.stage: clock.ms_of(stamp.unix_us) for stamp in frame.header.stamps}
