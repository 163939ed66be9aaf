"""All sessions of one generator process with one service, on one inbox."""

from typing import Final

from bus.curve import read_keys
from bus.frames import Frame
from bus.metrics import FRAMES_DROPPED
from launcher.load.clock import Clock
from launcher.load.findings import Findings
from launcher.load.job import Job
from launcher.load.peer import Peer
from launcher.load.speech import Phrase
from launcher.load.stages.asr import AsrSession
from launcher.load.stages.llm import LlmSession
from launcher.load.stages.session import STRANGER, Line, StageSession
from launcher.load.stages.tts import TtsSession
from launcher.load.stages.vad import VadSession

SESSIONS: Final[dict[str, type[StageSession]]] = {
    "vad": VadSession,
    "asr": AsrSession,
    "llm": LlmSession,
    "tts": TtsSession,
}
PARSES: Final = "every message is a frame with a body and a session"


class StageCrowd:
    """Carries out the schedule of a job with one service, from an inbox of its own."""

    def __init__(self, job: Job) -> None:
        self._kind = SESSIONS[job.kind]
        self._target = job.target
        self._schedule = job.schedule
        self._run = job.run
        self._sessions: dict[str, StageSession] = {}
        self._findings = Findings()
        self._clock: Clock | None = None
        self._malformed = _malformed()
        self._peer = Peer(job.bind, self._hear, keys=read_keys(job.bus_keys))

    async def connect(self) -> None:
        """Do nothing: ZeroMQ connects with the first frame."""

    def begin(self, clock: Clock, findings: Findings, phrases: tuple[Phrase, ...]) -> None:
        """Have the clock do everything."""
        self._clock, self._findings = clock, findings
        line = Line(self._peer, self._target, clock, findings, phrases, self._schedule.chunk_ms, self._run)
        for visit in self._schedule.visits:
            session = self._kind(line, visit)
            self._sessions[session.session_id] = session
            session.begin()

    @property
    def settled(self) -> bool:
        """Whether all that is waited for has come."""
        return all(session.settled for session in self._sessions.values())

    def settle(self) -> None:
        """Count, and give all places back."""
        for session in self._sessions.values():
            session.settle()
        malformed = _malformed() - self._malformed
        if malformed:
            self._findings.broken[PARSES] += malformed

    async def close(self) -> None:
        """Close the inbox."""
        self.close_now()

    def close_now(self) -> None:
        """Close the inbox."""
        self._peer.close()

    def _hear(self, body: str, frame: Frame) -> None:
        session = self._sessions.get(frame.header.session_id)
        if session is None or self._clock is None:
            # What an earlier run of ours left behind is no lie.
            if not frame.header.session_id.startswith("load-"):
                self._findings.breaks(STRANGER, f"{body} of session {frame.header.session_id[:40]!r}")
            return
        session.hear(body, frame, self._clock.now_ms())


def _malformed() -> int:
    # Counted by the node, which drops them.
    return int(FRAMES_DROPPED.labels("malformed")._value.get())  # noqa: SLF001 - the library's way to read one
