"""The conversation with one client: a state machine without I/O. Events in, commands out; time comes with the events.

Two machines work side by side: `turn.Turns` follows what the user says, `response.Response` the answer. This module
joins them. What always holds:

 1. At most one response is active.
 2. A response that began has exactly one end, and nothing of it comes after.
 3. No audio of a cancelled response is played after the cancel.
 4. Speech started and speech stopped come in pairs; an interruption is announced before the response ends.
 5. A turn whose recognition failed starts no answer; an answer whose synthesis failed does not end as completed.
 6. Whatever is waited for has a time at which it is given up.

Services may fail. A turn whose recogniser does is sent to another one when it is over; an answer of which nothing was
heard or read is asked for again, once; when a vad dies the next goes on where it was, in the middle of a turn too.

Speech that goes on within `reopen_ms` after the end of a turn continues it: the answer in preparation is thrown away,
and the user's message becomes both utterances together.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.core import commands as do
from gateway.core.conversation import Conversation
from gateway.core.events import (
    AudioConsumed,
    AudioReceived,
    Backlog,
    ClientGone,
    Event,
    GenerationDone,
    InputFound,
    InputLost,
    PartialTranscript,
    ResponseFailed,
    Role,
    SpeechPaused,
    SpeechReceived,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    SynthesisDone,
    TextDelta,
    Tick,
    Transcript,
    TurnFailed,
    TurnTaken,
)
from gateway.core.input import (
    BACK_MS,
    BYTES_PER_MS,
    IN_FLIGHT_MS,
    SAMPLE_RATE,
    InputAudio,
    pause_ms_before,
    to_ms,
)
from gateway.core.playout import PlayOut
from gateway.core.response import Response, Status
from gateway.core.turn import Turns, TurnState
from gateway.core.utterances import Utterances
from gateway.core.watch import Watch

# How far the tts may run ahead of what was handed to the client. Bounds the memory of an answer to 160 kB at 16 kHz.
AHEAD_MS: Final = 5000
# A client that has not taken audio for so long does not read at all.
NOT_READING_MS: Final = 20_000
# An answer that two services failed at is not asked for a third time. A refusal is no failure: nothing was done.
MOST_FAILURES: Final = 2
# Silence given to the vad for a client that stopped sending, beyond what ends the turn.
STARVED_EXTRA_MS: Final = 200


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What a session is told at its start. Rates in Hz, durations in ms.

    The time-outs are for what comes next (use of the audio, transcript, next piece of text or speech) and, the last,
    for all of the text.
    """

    instructions: str = ""
    output_rate: int = 16_000
    lead_ms: int = 200
    silence_duration_ms: int = 500
    reopen_ms: int = 1000
    starvation_ms: int = 400
    half_duplex: bool = False
    vad_timeout_ms: int = 5_000
    transcript_timeout_ms: int = 15_000
    text_timeout_ms: int = 30_000
    speech_timeout_ms: int = 15_000
    answer_timeout_ms: int = 120_000


class Session:
    """One client's conversation."""

    def __init__(self, settings: SessionSettings, now_ms: float) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._out: list[do.Command] = []
        self._input = InputAudio()
        self._utterances = Utterances(self._input)
        self._turns = Turns()
        self._conversation = Conversation()
        self._response: Response | None = None
        self._responses = 0
        self._generation = 0
        self._closed = False
        self._message: dict[int, str] = {}  # the texts of the turns that make up the user's message
        self._carried = ""  # what an earlier turn said, when this message continues it
        self._revision = 0
        self._stopped_at_sample: int | None = None
        self._transcript_due_ms: float | None = None
        self._input_open = True
        self._input_due_ms: float | None = None  # when a turn ends whose vad is lost
        self._moved_turn = 0  # the last turn that went from one vad to another
        self._judged_sample = 0  # what lies before belongs to turns that are over
        self._watch = Watch(now_ms, settings.starvation_ms, settings.vad_timeout_ms)
        self._audible_until_ms = now_ms
        self._backlog_since_ms: float | None = None
        self._is_told_of_pauses = pause_ms_before(settings.silence_duration_ms) > 0
        self._receivers: dict[type[Any], Callable[[Any], None]] = {
            AudioReceived: self._audio,
            Backlog: self._backlog,
            ClientGone: self._client_gone,
            AudioConsumed: self._consumed,
            SpeechStarted: self._speech_started,
            SpeechPaused: self._turns.pause,
            SpeechResumed: self._turns.pause,
            SpeechStopped: self._speech_stopped,
            PartialTranscript: self._partial_transcript,
            Transcript: self._transcript,
            TextDelta: self._text,
            GenerationDone: self._generation_done,
            SpeechReceived: self._speech,
            SynthesisDone: self._synthesis_done,
            TurnTaken: self._turn_taken,
            TurnFailed: self._turn_failed,
            ResponseFailed: self._response_failed,
            InputLost: self._input_lost,
            InputFound: self._input_found,
            Tick: self._tick,
        }

    # -- what the driver asks -----------------------------------------------------------------------------------------

    @property
    def wants_audio(self) -> bool:
        """Whether more of the client's audio should be read."""
        return not self._input.full

    @property
    def patient(self) -> bool:
        """Whether audio may wait a moment: nothing urgent, a turn's end or an interruption, can be in it."""
        match self._turns.state:
            case TurnState.SPEAKING:
                return self._is_told_of_pauses and not self._turns.paused
            case TurnState.LISTENING:
                return self._response is None and not self._playing()
            case TurnState.TRANSCRIBING:
                return False

    @property
    def conversation(self) -> Conversation:
        """What was said so far."""
        return self._conversation

    @property
    def newest_turn(self) -> int:
        """The number of the turn that began last."""
        return self._turns.newest

    @property
    def in_turn(self) -> bool:
        """Whether the vad has a turn open."""
        return self._turns.state is TurnState.SPEAKING

    @property
    def generation(self) -> int:
        """How many responses were cancelled; frames of older generations are stale."""
        return self._generation

    @property
    def response(self) -> Response | None:
        """The answer that is being made or played."""
        return self._response

    @property
    def caught_up(self) -> bool:
        """Whether the vad may have used all audio: it need not acknowledge the last of it."""
        return self._input.caught_up

    @property
    def idle(self) -> bool:
        """Whether everything that was said is answered and nothing is under way."""
        return self._turns.state is TurnState.LISTENING and self._response is None and self._input.caught_up

    def start(self) -> list[do.Command]:
        """Return what has to be done before anything else."""
        return [do.OpenInput(at_sample=0, first_turn_id=1)]

    def receive(self, event: Event, now_ms: float) -> list[do.Command]:
        """Apply *event* at the time *now_ms* (any clock that only grows); return what must be done, in order."""
        if self._closed:
            return []
        self._now_ms = now_ms
        self._out = []
        self._receivers[type(event)](event)
        return self._out

    def next_tick_ms(self) -> float | None:
        """Return when a `Tick` is needed next, None if time alone changes nothing."""
        times: list[float] = []
        if self._starves:
            times.append(self._watch.starving_at_ms)
        if self._watch.vad_due_ms is not None:
            times.append(self._watch.vad_due_ms)
        if self._input_due_ms is not None:
            times.append(self._input_due_ms)
        if self._transcript_due_ms is not None:
            times.append(self._transcript_due_ms)
        if self._backlog_since_ms is not None:
            times.append(self._backlog_since_ms + NOT_READING_MS)
        elif self._response is not None:
            if not self._response.all_received:
                times.append(self._response.due_ms)
            due_ms = self._response.playout.next_due_ms()
            if due_ms is not None:
                times.append(due_ms)
        return min(times, default=None)

    # -- input --------------------------------------------------------------------------------------------------------

    def _audio(self, event: AudioReceived) -> None:
        pcm = event.pcm
        self._watch.client_sent(self._now_ms, len(pcm) / BYTES_PER_MS)
        if self._settings.half_duplex and self._playing():
            pcm = bytes(len(pcm))
        self._send_audio(pcm)

    def _send_audio(self, pcm: bytes) -> None:
        # In a pause, the silence that ends the turn may be complete in the middle of a window.
        for position, block in self._input.push(pcm, in_full=self._turns.paused):
            self._out.append(do.SendAudio(block, position))
        self._expect_use()

    def _expect_use(self) -> None:
        if self._input_open and not self._input.caught_up:
            self._watch.vad_owes(self._now_ms)

    def _consumed(self, event: AudioConsumed) -> None:
        self._used(event.at_sample)

    def _used(self, at_sample: int) -> None:
        """Note that the vad has used everything before *at_sample*."""
        if at_sample <= self._input.consumed_sample:
            return
        was_full = self._input.full
        self._input.consumed(at_sample)
        if was_full and not self._input.full:
            self._watch.client_held_up(self._now_ms)
        self._watch.vad_owes_nothing()
        self._expect_use()

    def _playing(self) -> bool:
        return self._now_ms < self._audible_until_ms

    @property
    def _starves(self) -> bool:
        return self._turns.state is TurnState.SPEAKING and self._input_open and not self._input.full

    def _starve(self) -> None:
        """Give the vad the silence that a client which stopped sending would have sent."""
        room_ms = IN_FLIGHT_MS - int(self._input.in_flight_ms)
        silence_ms = min(self._settings.silence_duration_ms + STARVED_EXTRA_MS, room_ms)
        self._watch.silence_sent(self._now_ms)
        self._send_audio(bytes(silence_ms * BYTES_PER_MS))

    # -- the user's turn ----------------------------------------------------------------------------------------------

    def _speech_started(self, event: SpeechStarted) -> None:
        if not self._input_open or not self._turns.expects(event):
            return
        if self._turns.state is TurnState.SPEAKING:  # the stop was lost; the client still gets its pair
            self._out.append(do.SpeechStoppedNotice(self._turns.newest, to_ms(event.at_sample)))
            self._out.extend(self._utterances.stop(self._turns.newest, event.at_sample))
        self._out.append(do.SpeechStartedNotice(event.turn_id, to_ms(event.at_sample)))
        if self._continues(event):
            self._reopen()
        else:
            self._interrupt()
            self._revision = 0
        self._used(event.decided_at_sample)
        self._watch.turn_ended()
        self._turns.receive(event)
        self._message[event.turn_id] = ""
        self._utterances.begin(event.turn_id, event.at_sample)
        self._expect_transcripts()
        early = self._turns.kept(event.turn_id)
        if early is not None:
            self._receivers[type(early)](early)

    def _continues(self, event: SpeechStarted) -> bool:
        """Tell whether the speaker goes on with a message that has not been answered yet."""
        if self._turns.awaiting or self._carried or any(self._message.values()):
            return True
        if self._response is None or self._stopped_at_sample is None:
            return False
        return to_ms(event.decided_at_sample - self._stopped_at_sample) <= self._settings.reopen_ms

    def _reopen(self) -> None:
        """Take back the answer to what turns out to be half of a message."""
        self._revision += 1
        if self._response is not None:
            self._interrupt(remember=False)
            self._carried = self._conversation.take_back_user()

    def _speech_stopped(self, event: SpeechStopped) -> None:
        if not self._turns.expects(event):
            return
        self._used(event.decided_at_sample)
        self._watch.turn_ended()
        self._turns.receive(event)
        self._stopped_at_sample = self._judged_sample = event.decided_at_sample
        self._transcript_due_ms = self._now_ms + self._settings.transcript_timeout_ms
        self._out.append(do.SpeechStoppedNotice(event.turn_id, to_ms(event.at_sample)))
        self._out.extend(self._utterances.stop(event.turn_id, event.at_sample))
        self._respond_if_complete()

    def _expect_transcripts(self) -> None:
        if self._turns.owed and self._transcript_due_ms is None:
            self._transcript_due_ms = self._now_ms + self._settings.transcript_timeout_ms

    def _partial_transcript(self, event: PartialTranscript) -> None:
        if self._turns.awaits(event.turn_id):
            self._out.append(do.PartialTranscriptNotice(event.turn_id, event.text))

    def _transcript(self, event: Transcript) -> None:
        if not self._turns.expects(event):
            self._turns.keep(event)
            return
        self._turns.receive(event)
        self._utterances.end(event.turn_id)
        self._message[event.turn_id] = event.text.strip()
        self._out.append(do.TranscriptNotice(event.turn_id, event.text, reopened=self._revision > 0))
        self._respond_if_complete()

    def _turn_taken(self, event: TurnTaken) -> None:
        if self._turns.awaits(event.turn_id) and self._transcript_due_ms is not None:
            self._transcript_due_ms = self._now_ms + self._settings.transcript_timeout_ms

    def _turn_failed(self, event: TurnFailed) -> None:
        if not self._turns.expects(event):
            self._turns.keep(event)
            return
        if event.retryable and self._recognise_again(event.turn_id, refused=event.refused):
            return
        self._turns.receive(event)
        self._utterances.end(event.turn_id)
        self._message.pop(event.turn_id, None)
        self._out.append(do.TurnFailedNotice(event.turn_id, event.message))
        self._respond_if_complete()

    def _recognise_again(self, turn_id: int, *, refused: bool = False, elsewhere: str = "") -> bool:
        """Have another asr try a turn, now or when it is over; return whether that can be."""
        again = self._utterances.failed(turn_id, refused=refused, elsewhere=elsewhere)
        if again is None:
            return False
        if again:
            self._transcript_due_ms = self._now_ms + self._settings.transcript_timeout_ms
        self._out.extend(again)
        return True

    def _input_lost(self, event: InputLost) -> None:
        if not self._input_open:
            return
        self._input_open = False
        self._leave_vad(event.message)
        self._out.append(do.InputLostNotice(event.message))

    def _leave_vad(self, message: str) -> None:
        """Go on without the vad. A turn that is open waits for the next one; only the first time, and not for ever."""
        self._watch.vad_owes_nothing()
        self._watch.turn_ended()
        if self._turns.state is not TurnState.SPEAKING:
            return
        turn_id = self._turns.newest
        if self._turns.awaits(turn_id) and self._moved_turn != turn_id:
            self._moved_turn = turn_id
            self._utterances.interrupted(turn_id)
            self._out.append(do.CancelTurn(turn_id))
            self._input_due_ms = self._now_ms + self._settings.transcript_timeout_ms
        else:
            self._give_up_turn(message)

    def _give_up_turn(self, message: str) -> None:
        """End the open turn without a vad."""
        self._input_due_ms = None
        if self._turns.state is not TurnState.SPEAKING:  # its end was on its way when the vad was left
            return
        lost = self._turns.newest
        self._out.append(do.SpeechStoppedNotice(lost, to_ms(self._input.consumed_sample)))
        if self._turns.awaits(lost):
            self._out.append(do.CancelTurn(lost))
            self._out.append(do.TurnFailedNotice(lost, message))
            self._message.pop(lost, None)
            self._utterances.end(lost)
        self._turns.receive(InputLost(message))
        self._judged_sample = self._input.consumed_sample
        self._expect_transcripts()
        self._respond_if_complete()

    def _give_up_input(self) -> None:
        self._out.append(do.CloseInput())
        self._input_lost(InputLost("vad: nothing came in time"))

    def _input_found(self, _event: InputFound) -> None:
        if self._input_open:
            self._leave_vad("vad: the service is gone")
        self._input_open = True
        self._input_due_ms = None
        in_turn = self._turns.state is TurnState.SPEAKING
        at_sample = self._input.consumed_sample
        if not in_turn:  # it may have been about to hear a turn begin
            at_sample = max(self._judged_sample, at_sample - BACK_MS * SAMPLE_RATE // 1000, 0)
        again = self._input.again(at_sample)
        at_sample = again[0][0] if again else self._input.at_sample
        self._out.append(do.OpenInput(at_sample, self._turns.newest + (not in_turn), in_turn))
        self._out.extend(do.SendAudio(block, position) for position, block in again)
        self._expect_use()

    # -- the answer ---------------------------------------------------------------------------------------------------

    def _respond_if_complete(self) -> None:
        """Ask for an answer once everything that was said has its text."""
        if self._turns.state is not TurnState.LISTENING:
            return
        self._transcript_due_ms = None
        text = " ".join(part for part in (self._carried, *self._message.values()) if part)
        self._message = {}
        self._carried = ""
        if not text:
            return  # nothing was understood
        self._conversation.user_said(text)
        self._responses += 1
        request = do.Respond(
            response_id=f"r{self._responses}",
            turn_id=self._turns.newest,
            revision=self._revision,
            generation=self._generation,
            instructions=self._settings.instructions,
            messages=self._conversation.messages,
            granted_ms=AHEAD_MS,
        )
        self._response = self._new_response(request)
        self._out.append(do.ResponseStartedNotice(request.response_id, request.turn_id))
        self._out.append(request)

    def _new_response(self, request: do.Respond, failures: int = 0) -> Response:
        return Response(
            response_id=request.response_id,
            turn_id=request.turn_id,
            playout=PlayOut(self._settings.output_rate, self._settings.lead_ms),
            due_ms=self._now_ms + self._settings.text_timeout_ms,
            request=request,
            failures=failures,
            granted_ms=AHEAD_MS,
        )

    def _ask_again(self, response: Response, role: Role, *, refused: bool = False, elsewhere: str = "") -> bool:
        """Make the request again, if the client need not know; return whether that can be."""
        failures = response.failures + (not refused)
        if response.told or failures >= MOST_FAILURES:
            return False
        self._generation += 1
        request = replace(response.request, generation=self._generation)
        self._response = self._new_response(request, failures)
        self._out.append(do.AskAgain(request, role, elsewhere))
        return True

    def _active(self, response_id: str) -> Response | None:
        """Return the active response if it is the one named; frames of any other are late."""
        response = self._response
        return response if response is not None and response.response_id == response_id else None

    def _text(self, event: TextDelta) -> None:
        response = self._active(event.response_id)
        if response is None:
            return
        response.text += event.text
        response.due_ms = self._now_ms + self._settings.text_timeout_ms
        if response.told:
            self._out.append(do.TextNotice(event.response_id, event.text))

    def _tell(self, response: Response) -> None:
        """Give the client the text that has come, now that some of the answer is heard: it will not be asked again."""
        response.told = True
        if response.text:
            self._out.append(do.TextNotice(response.response_id, response.text))

    def _generation_done(self, event: GenerationDone) -> None:
        response = self._active(event.response_id)
        if response is None:
            return
        response.text_complete = True
        response.cut_off = not event.complete
        response.due_ms = self._now_ms + self._settings.speech_timeout_ms
        if response.playout.complete:
            self._play(response)

    def _speech(self, event: SpeechReceived) -> None:
        response = self._active(event.response_id)
        if response is None or response.playout.complete:
            return
        wait_ms = self._settings.speech_timeout_ms if response.text_complete else self._settings.text_timeout_ms
        response.due_ms = self._now_ms + wait_ms
        response.playout.feed(event.pcm, event.text)
        if response.playout.received_ms > response.granted_ms + AHEAD_MS:
            self._end(response, Status.FAILED, "tts: sent more than it was granted")
        else:
            self._play(response)

    def _synthesis_done(self, event: SynthesisDone) -> None:
        response = self._active(event.response_id)
        if response is None:
            return
        response.playout.complete = True
        self._play(response)

    def _response_failed(self, event: ResponseFailed) -> None:
        response = self._active(event.response_id)
        if response is None:
            return
        done = response.text_complete if event.role is Role.LLM else response.playout.complete
        if done:  # a service that has done its part may go
            return
        if not event.retryable or not self._ask_again(response, event.role, refused=event.refused):
            self._end(response, Status.FAILED, f"{event.role.value}: {event.message}")

    def _play(self, response: Response) -> None:
        """Hand over what is due, let the tts go on, end the response when all of it is handed over."""
        playout = response.playout
        if self._backlog_since_ms is None:
            pcm = playout.take(self._now_ms)
            if pcm:
                if not response.told:
                    self._tell(response)
                self._audible_until_ms = playout.dry_at_ms
                self._out.append(do.Play(response.response_id, pcm))
        if response.granted_ms - playout.sent_ms < AHEAD_MS / 2 and not playout.complete:
            response.granted_ms = int(playout.sent_ms) + AHEAD_MS
            self._out.append(do.Grant(response.response_id, response.granted_ms))
        if not playout.complete and playout.received_ms > response.granted_ms - AHEAD_MS / 2:
            # What is waited for is the client's playing, not the tts.
            response.due_ms = max(response.due_ms, self._now_ms + self._settings.speech_timeout_ms)
        if playout.drained and response.text_complete:
            self._end(response, Status.INCOMPLETE if response.cut_off else Status.COMPLETED)

    def _interrupt(self, *, remember: bool = True) -> None:
        """Stop the answer because the user speaks."""
        response = self._response
        if response is None:
            return
        heard_ms = int(response.playout.heard_ms(self._now_ms))
        self._out.append(do.InterruptNotice(response.response_id, heard_ms))
        self._end(response, Status.CANCELLED, remember=remember)

    def _end(self, response: Response, status: Status, message: str = "", *, remember: bool = True) -> None:
        playout = response.playout
        stopped = status in (Status.CANCELLED, Status.FAILED)
        if not stopped:
            heard = response.text
            if not response.told:
                self._tell(response)
            self._out.append(do.EndResponse(response.response_id))
        else:
            heard = playout.heard_text(self._now_ms)
            playout.stop()
            self._generation += 1
            self._out.append(do.CancelResponse(response.response_id, self._generation))
        if remember:
            self._conversation.assistant_said(heard)
        response.end(status)
        self._response = None
        self._out.append(do.PlayEnded(response.response_id, stopped=stopped))
        self._out.append(do.ResponseDoneNotice(response.response_id, status, heard, int(playout.sent_ms), message))

    # -- time and the connection --------------------------------------------------------------------------------------

    def _tick(self, _event: Tick) -> None:
        now_ms = self._now_ms
        if self._starves and now_ms >= self._watch.starving_at_ms:
            self._starve()
        if self._input_due_ms is not None and now_ms >= self._input_due_ms:
            self._give_up_turn("vad: none was there in time")
        vad_due_ms = self._watch.vad_due_ms
        if vad_due_ms is not None and now_ms >= vad_due_ms:
            self._give_up_input()
        if self._transcript_due_ms is not None and now_ms >= self._transcript_due_ms:
            self._give_up_transcripts()
        response = self._response
        if response is not None and self._backlog_since_ms is None:
            if now_ms >= response.due_ms and not response.all_received:
                missing, late = (Role.TTS if response.text_complete else Role.LLM), "nothing came in time"
                if not self._ask_again(response, missing, elsewhere=late):
                    self._end(response, Status.FAILED, f"{missing.value}: {late}")
            else:
                self._play(response)
        if self._backlog_since_ms is not None and now_ms >= self._backlog_since_ms + NOT_READING_MS:
            self._out.append(do.Disconnect("the client does not read its audio"))
            self._client_gone(ClientGone())

    def _give_up_transcripts(self) -> None:
        self._transcript_due_ms = None
        for turn_id in [t for t in self._message if self._turns.expects(TurnFailed(t, ""))]:
            if turn_id == self._turns.newest and self._turns.state is TurnState.SPEAKING:
                continue
            message = "asr: no transcript came in time"
            if not self._recognise_again(turn_id, elsewhere=message):
                self._out.append(do.CancelTurn(turn_id))
                self._turn_failed(TurnFailed(turn_id, message))

    def _backlog(self, event: Backlog) -> None:
        if event.ms > 0:
            if self._backlog_since_ms is None:
                self._backlog_since_ms = self._now_ms
        elif self._backlog_since_ms is not None:
            if self._response is not None:  # time stood still for it: the services waited for the client
                self._response.due_ms += self._now_ms - self._backlog_since_ms
            self._backlog_since_ms = None

    def _client_gone(self, _event: ClientGone) -> None:
        if self._response is not None:
            self._end(self._response, Status.CANCELLED)
        self._out.append(do.CloseSession())
        self._closed = True
        self._input.forget()  # what refers to itself in circles is freed late: the audio need not wait for it
