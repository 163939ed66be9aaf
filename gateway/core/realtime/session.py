"""A Realtime session: a state machine without I/O. Events in, commands out; time comes with the events.

The work is done by `hearing.Hearing` (what the user says), `answers.Answers` (what the agent says) and
`editing.Editing` (what the client does to items); this module joins them. What always holds:

 1. At most one response is active in the conversation; those out of band run beside it.
 2. A response that was created has one end; everything opened in it is closed before, nothing of it comes after.
 3. Speech started, stopped, committed and the item follow one another; the end of an interrupted response follows the
    speech that interrupted it.
 4. The item before an item is one that the client was told of, or none.
 5. What an event asks for is done before the next event is looked at, or the event is rejected and does nothing.
 6. Whatever is waited for has a time at which it is given up.

Audio is to be given in pieces of half a second at most, and none while `wants_audio` is false.
"""

from collections.abc import Callable
from typing import Any, Final

from gateway.core.realtime import client_events as client
from gateway.core.realtime import commands as do
from gateway.core.realtime import events as ev
from gateway.core.realtime import notices as tell
from gateway.core.realtime.answers import Answers
from gateway.core.realtime.config import SessionConfig
from gateway.core.realtime.conversation import Conversation, Entry
from gateway.core.realtime.editing import Editing
from gateway.core.realtime.hearing import Hearing
from gateway.core.realtime.scene import Scene
from gateway.core.realtime.settings import RealtimeSettings
from gateway.core.response import Status

# A client that has not taken audio for so long does not read at all.
NOT_READING_MS: Final = 20_000
# Close code of a session that is as old as it may be.
EXPIRED: Final = 1001


class RealtimeSession:
    """One client's session. *new_id* returns an id of the kind it is given ("item", "resp"…), each time another."""

    def __init__(
        self, config: SessionConfig, settings: RealtimeSettings, new_id: Callable[[str], str], now_ms: float
    ) -> None:
        scene = self._scene = Scene(settings, config, now_ms, new_id)
        self._conversation = Conversation(settings)
        self._answers = Answers(scene, self._conversation, self._response_ended)
        self._hearing = Hearing(scene, self._conversation, self._speech_began, self._turn_over)
        editing = Editing(scene, self._conversation, self._hearing, self._answers)
        self._quiet_since_ms: float | None = None  # when the user had heard the last answer, if nothing came since
        self._backlog_since_ms: float | None = None
        self._closed = False
        answers, hearing = self._answers, self._hearing
        self._receivers: dict[type[Any], Callable[[Any], None]] = {
            client.UpdateSession: self._update,
            client.AppendAudio: hearing.append,
            client.CommitInput: self._commit,
            client.ClearInput: lambda _event: hearing.clear(),
            client.CreateItem: editing.create,
            client.RetrieveItem: editing.retrieve,
            client.TruncateItem: editing.truncate,
            client.DeleteItem: editing.delete,
            client.CreateResponse: self._create_response,
            client.CancelResponse: answers.cancel,
            client.SessionExpired: self._expire,
            ev.Backlog: self._backlog,
            ev.ClientGone: lambda _event: self._close(),
            ev.AudioConsumed: hearing.consumed,
            ev.SpeechStarted: hearing.speech_started,
            ev.SpeechPaused: hearing.turns.pause,
            ev.SpeechResumed: hearing.turns.pause,
            ev.SpeechStopped: hearing.speech_stopped,
            ev.PartialTranscript: hearing.texts.partial,
            ev.Transcript: hearing.texts.transcript,
            ev.TurnTaken: hearing.texts.turn_taken,
            ev.TurnFailed: hearing.texts.turn_failed,
            ev.InputLost: hearing.lost,
            ev.InputFound: lambda _event: hearing.found(),
            ev.TextDelta: answers.text,
            ev.ToolCallDelta: answers.call,
            ev.GenerationDone: answers.generation_done,
            ev.SpeechReceived: answers.speech,
            ev.SynthesisDone: answers.synthesis_done,
            ev.ResponseFailed: answers.failed,
            ev.Tick: self._tick,
        }

    # -- what the driver and the codec ask ----------------------------------------------------------------------------

    @property
    def config(self) -> SessionConfig:
        """The settings in force."""
        return self._scene.config

    @property
    def conversation_id(self) -> str:
        """The id of the default conversation."""
        return self._answers.conversation_id

    @property
    def conversation(self) -> Conversation:
        """The items."""
        return self._conversation

    @property
    def wants_audio(self) -> bool:
        """Whether more of the client's audio should be read."""
        return not self._hearing.full

    @property
    def caught_up(self) -> bool:
        """Whether the vad may have used all audio: it need not acknowledge the last of it."""
        return self._hearing.caught_up

    @property
    def patient(self) -> bool:
        """Whether audio may wait a moment: nothing urgent, a turn's end or an interruption, can be in it."""
        return self._hearing.patient

    @property
    def newest_turn(self) -> int:
        """The number of the turn that began last."""
        return self._hearing.newest_turn

    @property
    def in_turn(self) -> bool:
        """Whether the vad has a turn open."""
        return self._hearing.in_turn

    @property
    def generation(self) -> int:
        """How many responses were stopped at the services."""
        return self._answers.generation

    @property
    def idle(self) -> bool:
        """Whether everything that was said is answered and nothing is under way."""
        return self._hearing.quiet and self._answers.quiet

    def start(self) -> list[do.Command]:
        """Return what has to be done before anything else."""
        return [do.OpenInput(at_sample=0, first_turn_id=1)]

    def receive(self, event: ev.Event, now_ms: float) -> list[do.Command]:
        """Apply *event* at the time *now_ms* (any clock that only grows); return what must be done, in order."""
        if self._closed:
            return []
        self._scene.now_ms = now_ms
        self._scene.out = []
        self._receivers[type(event)](event)
        self._answers.ask()
        return self._scene.out

    def next_tick_ms(self) -> float | None:
        """Return when a `Tick` is needed next, None if time alone changes nothing."""
        times = [self._hearing.next_tick_ms(), self._answers.next_tick_ms(), self._idle_due_ms()]
        if self._backlog_since_ms is not None:
            times.append(self._backlog_since_ms + NOT_READING_MS)
        return min((due_ms for due_ms in times if due_ms is not None), default=None)

    # -- the session itself -------------------------------------------------------------------------------------------

    def _update(self, event: client.UpdateSession) -> None:
        scene, new = self._scene, event.config
        old = scene.config
        untouched = not self._hearing.heard_audio and not self._conversation.entries
        if new.type != old.type and not (untouched and not self._answers.made):
            message = f"The type of the session cannot be changed: it is '{old.type}'."
            scene.reject("invalid_value", message, event.event_id, "session.type")
        elif new.model != old.model and self._answers.made:
            message = f"The model cannot be changed once it has answered: it is '{old.model}'."
            scene.reject("invalid_value", message, event.event_id, "session.model")
        elif not self._answers.allows_voice(new.response.voice):
            message = "Cannot update a conversation's voice if assistant audio is present."
            scene.reject("cannot_update_voice", message, event.event_id)
        elif new.input_format != old.input_format and self._hearing.holds_audio:
            message = "The input format cannot be changed while the input audio buffer holds audio."
            scene.reject("invalid_value", message, event.event_id, "session.audio.input.format")
        else:
            self._hearing.reconfigure(event)
            scene.say(tell.SessionUpdated(new))

    def _commit(self, event: client.CommitInput) -> None:
        self._quiet_since_ms = None
        self._hearing.commit(event)

    def _create_response(self, event: client.CreateResponse) -> None:
        self._answers.create(event)
        if self._answers.active is not None:
            self._quiet_since_ms = None

    def _speech_began(self) -> None:
        self._quiet_since_ms = None
        self._answers.interrupt()

    def _turn_over(self, entry: Entry) -> None:
        self._quiet_since_ms = None
        self._answers.answer(entry)

    def _response_ended(self) -> None:
        self._quiet_since_ms = self._scene.heard_until_ms

    def _idle_due_ms(self) -> float | None:
        detection = self._scene.config.turn_detection
        if self._quiet_since_ms is None or detection is None or detection.idle_timeout_ms is None:
            return None
        if self._hearing.speaking or self._answers.active is not None:
            return None
        return self._quiet_since_ms + detection.idle_timeout_ms

    def _expire(self, event: client.SessionExpired) -> None:
        message = f"Your session hit the maximum duration of {event.minutes} minutes."
        self._answers.end_all(Status.FAILED, code="session_expired", message=message)
        error = tell.Rejected("session_expired", message)
        self._scene.say(tell.SessionOver(error, EXPIRED, message))
        self._close()

    def _close(self) -> None:
        self._answers.end_all(Status.CANCELLED, reason="client_cancelled")
        self._scene.say(do.CloseSession())
        self._closed = True
        # What refers to itself in circles is freed late: the audio need not wait for it.
        self._hearing.forget()
        self._conversation.forget_audio()

    # -- time and the connection --------------------------------------------------------------------------------------

    def _tick(self, _event: ev.Tick) -> None:
        now_ms = self._scene.now_ms
        self._hearing.tick()
        self._answers.tick()
        idle_due_ms = self._idle_due_ms()
        if idle_due_ms is not None and now_ms >= idle_due_ms:
            detection = self._scene.config.turn_detection
            self._quiet_since_ms = None
            self._hearing.commit_silence((detection.idle_timeout_ms if detection else None) or 0)
        if self._backlog_since_ms is not None and now_ms >= self._backlog_since_ms + NOT_READING_MS:
            self._scene.say(do.Disconnect("the client does not read its audio"))
            self._close()

    def _backlog(self, event: ev.Backlog) -> None:
        if event.ms > 0:
            self._answers.hold()
            if self._backlog_since_ms is None:
                self._backlog_since_ms = self._scene.now_ms
        else:
            self._answers.release()
            self._backlog_since_ms = None
