"""What sessions with an llm and with a tts share: responses, one after another, some of them cancelled."""

from functools import partial

from bus.frames import Frame
from launcher.load.schedule import Turn, Visit
from launcher.load.stages.session import AFTER_END, SILENT_AFTER_MS, STRANGER, Line, StageSession
from proto.v1 import speech_pb2 as pb


class Asked:
    """One response on its way. *due_ms*: the scheduled moment of its request."""

    def __init__(self, due_ms: float, generation: int, *, expected: bool) -> None:
        self.due_ms = due_ms
        self.generation = generation
        self.expected = expected
        self.first_ms: float | None = None
        self.over = False
        self.answered = False
        self.refused = False
        self.cancelled_ms: float | None = None
        self.late_ms = 0.0
        """How long after its cancel the last frame came."""


class ResponseSession(StageSession):
    """Asks for a response when words have been said, cancels it where the schedule interrupts it."""

    def __init__(self, line: Line, visit: Visit) -> None:
        super().__init__(line, visit)
        self._asked: dict[str, Asked] = {}
        self._generation = 0

    def begin(self) -> None:
        """Have the clock ask and cancel."""
        super().begin()
        for number, turn in enumerate(self.visit.turns, 1):
            if turn.interrupts:
                # The chunk with the onset has been spoken.
                onset_ms = self.visit.begins_ms + turn.at_ms + self.line.chunk_ms
                self.line.clock.at(onset_ms, partial(self._cancel, f"r{number - 1}"))

    def turn(self, number: int, turn: Turn, due_ms: float) -> None:
        """Ask."""
        response_id = f"r{number}"
        asked = self._asked[response_id] = self.new(number, due_ms, expected=not turn.abandoned)
        self.findings.counts["opened"] += 1
        self.request(response_id, asked, turn)

    def new(self, number: int, due_ms: float, *, expected: bool) -> Asked:
        """Return what is known of the *number*-th response before it is asked for."""
        raise NotImplementedError

    def request(self, response_id: str, asked: Asked, turn: Turn) -> None:
        """Send the request."""
        raise NotImplementedError

    def piece(self, asked: Asked, body: str, frame: Frame, now_ms: float) -> None:
        """Take a piece of a response, or its end."""
        raise NotImplementedError

    @property
    def settled(self) -> bool:
        """Whether every response has its end."""
        unasked = len(self._asked) < len(self.visit.turns) and self._closed_ms is None
        return not unasked and all(asked.over or not asked.expected for asked in self._asked.values())

    def settle(self) -> None:
        """Count."""
        counts = self.findings.counts
        for asked in self._asked.values():
            if asked.cancelled_ms is not None and asked.first_ms is not None:
                counts["barge_ins"] += 1
                self.findings.time("silence_after_barge_in", asked.late_ms)
            if not asked.expected:
                continue
            if asked.refused:
                counts["turns_refused"] += 1
                continue
            counts["turns"] += 1
            counts["answered"] += asked.answered
            if not asked.over:
                self.findings.error("no end of the response" if asked.first_ms is not None else "no answer")
        self.settle_unasked(len(self._asked))
        self.close("the load is over")

    def answer(self, body: str, frame: Frame, now_ms: float) -> None:
        """Take a frame of the service."""
        asked = self._asked.get(frame.header.response_id)
        if asked is None:
            self.findings.breaks(STRANGER, f"{body} of response {frame.header.response_id!r}")
        elif body in ("refusal", "error"):
            asked.refused = body == "refusal" or asked.refused
            asked.over = self.failed(body, frame) or asked.over
        elif asked.cancelled_ms is not None:
            asked.late_ms = now_ms - asked.cancelled_ms
            if asked.late_ms > SILENT_AFTER_MS:
                self.findings.breaks(AFTER_END, f"{body} {asked.late_ms:.0f} ms after its cancel")
        elif asked.over:
            self.findings.breaks(AFTER_END, body)
        else:
            self.piece(asked, body, frame, now_ms)

    def first(self, asked: Asked, now_ms: float) -> None:
        """Note that the response has begun to come."""
        if asked.first_ms is None:
            asked.first_ms = now_ms
            self.findings.time("latency", now_ms - asked.due_ms)

    def end(self, asked: Asked, now_ms: float) -> None:
        """Note that the response is complete."""
        asked.over = asked.answered = True
        self.findings.time("to_last", now_ms - asked.due_ms)

    def _cancel(self, response_id: str, due_ms: float) -> None:
        asked = self._asked.get(response_id)
        if asked is None or asked.over or self._closed_ms is not None:
            return
        asked.cancelled_ms = due_ms
        asked.over = True
        asked.answered = asked.first_ms is not None
        if not asked.answered:
            self.findings.error("nothing came before the interruption")
        self._generation += 1
        header = self.header(response_id=response_id, generation=self._generation)
        self.send(header, cancel=pb.Cancel(reason="barge-in"))

    @property
    def generation(self) -> int:
        """The session's newest generation."""
        return self._generation
