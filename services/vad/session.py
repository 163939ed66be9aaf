"""One session: its audio in, its turns out. Knows frames, and nothing of engines or of other sessions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bus.frames import Frame, Header, stamp
from bus.jobs import Job
from proto.v1 import speech_pb2 as pb
from services.vad import metrics
from services.vad.end_of_turn.model import LONGEST
from services.vad.endpointing import (
    SAMPLES_PER_MS,
    Endpointer,
    Event,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
)
from services.vad.engine import Floats
from services.vad.intake import Intake, Mark
from services.vad.requests import parameters_of, position_of

# Audio in a Speech frame, the first and the last of a turn aside: three windows of Silero. A frame for every window
# would double what the process sends, and recognisers work on stretches of this length or longer.
SPEECH: Final = 96 * SAMPLES_PER_MS
# The protocol's bound between two AudioAcks.
ACK_AT_MOST: Final = 500 * SAMPLES_PER_MS
# A session that had more than this waiting is told as soon as all of it is used: its sender may have stopped reading.
BEHIND: Final = 1_000 * SAMPLES_PER_MS


@dataclass(slots=True)
class Turn:
    """The open turn: where its audio goes, and how far it went (tape position)."""

    turn_id: int
    next: str  # "": nowhere
    sent: int
    began: int = 0
    first: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """What the end-of-turn model was asked: whether the turn was over at *at*, and what had brought that audio."""

    at: int
    stamps: Sequence[pb.Stamp]


class Session:
    """Audio, endpointing and turn of one session.

    `take` gives it a frame. `settle` does what needs no engine and tells whether a window is due; `fill` copies that
    window out and `hear` takes its probability. Between `fill` and `hear` only `take` and `advise` may be called.

    *ask*, where there is an end-of-turn model, takes a position and the last seconds of the turn up to there;
    the answer comes by `advise` and is used by the next `settle`.
    """

    def __init__(
        self,
        job: Job,
        frame: Frame,
        window_samples: int,
        ask: Callable[[int, bytes], None] | None = None,
        onset_lag_ms: int = 0,
    ) -> None:
        opened = frame.session_open
        self.job = job
        self.row: int | None = None  # in the engine
        self.queued = False  # for the engine, or in its hands
        self._window = window_samples
        self._window_end = 0  # of the window that is due
        self._intake = Intake(frame.header, position_of(opened.at_sample))
        self._endpointer = Endpointer(parameters_of(opened.endpointing), onset_lag_ms)
        self._recognition = opened.recognition
        self._generation = frame.header.generation
        self._turn_id = max(opened.first_turn_id, 1) - 1
        self._turn: Turn | None = None
        self._ask_model = ask
        self._question: Question | None = None  # that is not answered; no speech is sent meanwhile
        self._advice: tuple[int, float | None] | None = None  # that is not used
        self._acked = 0
        self._behind = False
        if opened.in_turn:
            self._resume()
        self._ack()  # tells that the lease was given

    def take(self, body: str, frame: Frame) -> None:
        """Queue what *frame* brings.

        Raises:
            JobError: it cannot be used, or too much is waiting.
        """
        self._generation = frame.header.generation
        match body:
            case "audio":
                self._intake.put_audio(frame)
                self._behind = self._behind or self._intake.waiting > BEHIND
            case "input_commit":
                self._intake.put_control(body, frame, frame.input_commit.at_sample)
            case "input_clear":
                self._intake.put_control(body, frame, frame.input_clear.at_sample)
            case "session_update":
                parameters_of(frame.session_update.endpointing)  # bad ones are told now
                self._intake.put_control(body, frame)
            case "session_open":  # sent again: its answer was lost, or its sender forgot
                parameters_of(frame.session_open.endpointing)
                self._intake.put_control(body, frame)

    def settle(self) -> bool:
        """Use what waits and needs no engine; tell whether a window is due."""
        if self._advice is not None:
            self._use(*self._advice)
        while True:
            if self._endpointer.parameters.manual:
                self._hold()
            elif self._finds_window():
                return True
            mark = self._intake.next_mark()
            if mark is None:
                break
            self._apply(mark)
        if self._behind:
            self._behind = False
            self._ack()
        return False

    def _finds_window(self) -> bool:
        intake = self._intake
        end = self._endpointer.next_end(intake.consumed, self._window)
        if end - self._window < intake.tape.start:
            end = intake.consumed + self._window
        self._window_end = end
        return end <= intake.until

    def fill(self, window: Floats) -> None:
        """Copy the due window out, in 16-bit units. One that ends sooner begins in what was heard before."""
        self._intake.tape.read(self._window_end - self._window, window)

    def hear(self, probability: float) -> None:
        """Use the due window, whose speech probability is *probability*."""
        end = self._window_end
        self._go_on(end, self._endpointer.hear(self._intake.consumed, end, probability))

    def advise(self, at: int, probability: float | None) -> None:
        """Keep the model's answer to what was asked at *at*; None: it failed."""
        self._advice = at, probability

    def _use(self, at: int, probability: float | None) -> None:
        self._advice = None
        question = self._question
        if question is None or question.at != at:
            return  # that pause is over
        self._question = None
        events: list[Event] = []
        heard = self._intake.consumed
        if probability is not None:
            events = self._endpointer.advise(at, probability, heard)
        metrics.END_OF_TURN.labels("failed" if probability is None else "finished" if events else "unfinished").inc()
        self._go_on(heard, events, question.stamps)

    def _resume(self) -> None:
        """Go on with a turn that another vad began. Nobody here has all of its audio, so none is sent on."""
        self._turn_id += 1
        self._turn = Turn(self._turn_id, next="", sent=0)
        self._endpointer.resume(0)

    def _hold(self) -> None:
        while (start := self._intake.consumed) < self._intake.until:
            end = min(self._intake.until, self._endpointer.limit(start))
            self._go_on(end, self._endpointer.hold(start, end))

    def _apply(self, mark: Mark) -> None:
        endpointer, at = self._endpointer, mark.at
        match mark.body:
            case "input_commit" if endpointer.open:
                self._go_on(at, endpointer.commit(at), mark.frame.header.stamps)
            case "input_clear":
                endpointer.clear(at)
                self._leave_open("late")
                self._turn = None
                self._go_on(at, [])
            case "session_update":
                update = mark.frame.session_update
                self._replace(update)
            case "session_open":
                self._replace(mark.frame.session_open)
                self._ack()
            case "audio":
                self._go_on(at, endpointer.miss(at))
        self._intake.pass_mark()
        if mark.jump:
            self._ack()  # its sender counts what is in flight on the clock that jumped

    def _replace(self, asked: pb.SessionUpdate | pb.SessionOpen) -> None:
        if asked.HasField("recognition"):
            self._recognition = asked.recognition
        if asked.HasField("endpointing"):
            at = self._intake.consumed
            self._go_on(at, self._endpointer.replace(parameters_of(asked.endpointing), at))

    def _go_on(self, end: int, events: list[Event], stamps: Sequence[pb.Stamp] = ()) -> None:
        """Have consumed the audio up to *end*, which meant *events*."""
        intake = self._intake
        intake.consume(end)
        for event in events:
            self._tell(event, stamps or intake.header.stamps)
        turn = self._turn
        if turn is not None and self._question is None and end - turn.sent >= SPEECH:
            self._send_speech(turn, end)
        if end - self._acked + self._window > ACK_AT_MOST:
            self._ack()
        keep = self._endpointer.keep_from(end)
        if self._turn is not None:
            keep = min(keep, self._turn.sent, end - self._window)
            if self._asks():
                keep = min(keep, max(self._turn.began, end - LONGEST))
        intake.tape.forget_before(keep)

    def _asks(self) -> bool:
        return self._ask_model is not None and self._endpointer.parameters.end_of_turn_threshold > 0

    def _ask(self, at: int, stamps: Sequence[pb.Stamp]) -> None:
        if self._ask_model is None or self._turn is None or not self._asks():
            return
        tape = self._intake.tape
        self._question = Question(at, stamps)
        self._ask_model(at, tape.cut(max(self._turn.began, at - LONGEST, tape.start), at))

    def _leave_open(self, outcome: str) -> None:
        if self._question is not None:
            self._question = None
            metrics.END_OF_TURN.labels(outcome).inc()

    def _tell(self, event: Event, heard: Sequence[pb.Stamp]) -> None:
        stamps = [*heard, stamp(pb.Stamp.VAD_DECIDED)]
        clock = self._intake.on_clock
        at = clock(event.at)
        match event:
            case SpeechStarted():
                self._turn_id += 1
                metrics.TURNS.inc()
                turn = self._turn = Turn(self._turn_id, self._intake.header.next or self.job.next, event.at, event.at)
                started = pb.SpeechStarted(at_sample=at, decided_at_sample=clock(event.decided_at))
                header = self._header(self._turn_id, stamps)
                header.next = turn.next  # the gateway may have named another meanwhile
                self._send(header, speech_started=started)
                self._send_speech(turn, self._intake.consumed)
            case SpeechPaused():
                self._reply(stamps, speech_paused=pb.SpeechPaused(at_sample=at))
                self._ask(event.decided_at, heard)
            case SpeechResumed():
                self._leave_open("resumed")
                self._reply(stamps, speech_resumed=pb.SpeechResumed(at_sample=at))
            case SpeechStopped():
                self._leave_open("late")
                stopped = pb.SpeechStopped(at_sample=at, decided_at_sample=clock(event.decided_at))
                self._reply(stamps, speech_stopped=stopped)
                if self._turn is not None:
                    self._send_speech(self._turn, event.at, stamps, last=True)
                self._turn = None

    def _send_speech(self, turn: Turn, end: int, stamps: Sequence[pb.Stamp] = (), *, last: bool = False) -> None:
        if turn.next:
            speech = pb.Speech(
                pcm=self._intake.tape.cut(turn.sent, end),
                at_sample=self._intake.on_clock(turn.sent),
                last=last,
                recognition=self._recognition if turn.first else None,
            )
            header = self._header(turn.turn_id, stamps, reply_to=self.job.reply_to)
            self.job.send(turn.next, Frame(header=header, speech=speech))
        turn.sent, turn.first = end, False

    def _ack(self) -> None:
        consumed = self._intake.consumed
        self._acked = consumed
        self._send(self._header(0), audio_ack=pb.AudioAck(consumed_sample=self._intake.on_clock(consumed)))

    def _reply(self, stamps: Sequence[pb.Stamp], **body: Any) -> None:
        self._send(self._header(self._turn_id, stamps), **body)

    def _send(self, header: Header, **body: Any) -> None:
        self.job.send(self.job.reply_to, Frame(header=header, **body))

    def _header(self, turn_id: int, stamps: Sequence[pb.Stamp] = (), reply_to: str = "") -> Header:
        return Header(
            session_id=self.job.session_id,
            turn_id=turn_id,
            generation=self._generation,
            traceparent=self._intake.header.traceparent or self.job.header.traceparent,
            reply_to=reply_to,
            stamps=stamps,
        )
