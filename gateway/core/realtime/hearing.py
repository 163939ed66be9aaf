"""The user's side: audio in, the vad's turns and the asr's texts in, items out.

With turn detection a segment opens with the vad's speech start (announced with the id that its item will have) and is
committed by its speech stop. Without, it opens with the first audio and only the client commits it; the vad cuts its
turns by the same commit. A turn belongs to the segment in which it begins, however late the frame comes.

The client's audio clock and ours differ by the silence that was put in its place when it stopped sending.
"""

from collections.abc import Callable, Iterable
from typing import Final

from gateway.core.input import BACK_MS, BYTES_PER_MS, IN_FLIGHT_MS, SAMPLE_RATE, InputAudio, to_ms
from gateway.core.realtime import client_events as client
from gateway.core.realtime import commands as do
from gateway.core.realtime import events as ev
from gateway.core.realtime import notices as tell
from gateway.core.realtime.config import SessionConfig
from gateway.core.realtime.conversation import Conversation, Entry
from gateway.core.realtime.endpointing import endpointing_of
from gateway.core.realtime.items import Item, Part
from gateway.core.realtime.scene import Scene
from gateway.core.realtime.segment import Segment, Stage
from gateway.core.realtime.tape import ClientClock, Tape
from gateway.core.realtime.transcripts import Transcripts
from gateway.core.turn import Turns, TurnState
from gateway.core.utterances import Utterances
from gateway.core.watch import Watch

# The least that can be committed (the protocol's).
LEAST_MS: Final = 100
# Silence given to the vad for a client that stopped sending, beyond what ends the turn.
STARVED_EXTRA_MS: Final = 200
# The byte that sounds like nothing.
SILENT_BYTE: Final = {"pcm": b"\0", "pcmu": b"\xff", "pcma": b"\xd5"}
# Audio kept beyond the prefix padding while nobody speaks: what the vad may still be busy with.
UNJUDGED_MS: Final = IN_FLIGHT_MS + 1000
# It is forgotten by so much at a time.
FORGOTTEN_MS: Final = 250
# What the silence of an idle user is called before the model.
SILENCE: Final = "(silence)"


class Hearing:
    """Follows what the user says. *interrupt* is called when detected speech begins, *answer* when a turn is over."""

    def __init__(
        self,
        scene: Scene,
        conversation: Conversation,
        interrupt: Callable[[], None],
        answer: Callable[[Entry], None],
    ) -> None:
        settings = scene.settings
        self._scene = scene
        self._conversation = conversation
        self._interrupt = interrupt
        self._answer = answer
        self._input = InputAudio()
        self._utterances = Utterances(self._input)
        self._texts = Transcripts(scene, self._utterances)
        self._turns = self._texts.turns
        self._watch = Watch(scene.now_ms, settings.starvation_ms, settings.vad_timeout_ms)
        wire = scene.config.input_format
        self._tape = Tape(1 / wire.ms(1), wire.bytes_per_sample, settings.buffer_ms)
        self._open: Segment | None = None
        self._forgets_at_ms = 0.0  # when the tape holds so much that an item of the future will not want
        self._buffered_ms = 0.0
        self._newest_used = 0
        self._committed_ms = 0.0
        self._patient_in_speech = _is_patient_in_speech(scene.config)
        self._input_open = True
        self._input_due_ms: float | None = None  # when a turn ends whose vad is lost
        self._moved_turn = 0  # the last turn that went from one vad to another
        self._judged_sample = 0  # what lies before belongs to items
        self._clock = ClientClock()
        self.heard_audio = False

    def forget(self) -> None:
        """Keep no audio any more: the session is over."""
        self._input.forget()
        self._tape.forget_before(self._tape.end_ms)

    # -- what the session asks ----------------------------------------------------------------------------------------

    @property
    def texts(self) -> Transcripts:
        """What hears of the asr."""
        return self._texts

    @property
    def full(self) -> bool:
        """Whether no more audio should be read."""
        return self._input.full

    @property
    def caught_up(self) -> bool:
        """Whether the vad may have used all audio."""
        return self._input.caught_up

    @property
    def newest_turn(self) -> int:
        """The number of the turn that began last, of those that anything is made of."""
        return self._newest_used

    @property
    def speaking(self) -> bool:
        """Whether detected speech goes on."""
        return self._detects and self._open is not None

    @property
    def holds_audio(self) -> bool:
        """Whether there is audio that the next commit would take."""
        return self._open is not None

    @property
    def in_turn(self) -> bool:
        """Whether the vad has a turn open."""
        return self._turns.state is TurnState.SPEAKING

    @property
    def patient(self) -> bool:
        """Whether audio may wait a moment: nothing urgent, a turn's end or an interruption, can be in it."""
        if not self._detects:
            return False  # each append is answered for by itself
        if self._open is not None:
            return self._patient_in_speech and not self._turns.paused
        return self._scene.now_ms >= self._scene.heard_until_ms

    @property
    def turns(self) -> Turns:
        """The turns of the vad."""
        return self._turns

    @property
    def quiet(self) -> bool:
        """Whether all that was said has its text."""
        spoken = self._open is None or (not self._detects and self._turns.state is not TurnState.SPEAKING)
        return spoken and not self._texts.closing and self._input.caught_up

    @property
    def _detects(self) -> bool:
        return self._scene.config.turn_detection is not None

    def reserves(self, item_id: str) -> bool:
        """Tell whether the item that is being spoken will have this id."""
        return self._open is not None and self._open.item_id == item_id

    # -- the client's audio -------------------------------------------------------------------------------------------

    def append(self, event: client.AppendAudio) -> None:
        """Take audio."""
        scene, wire = self._scene, self._scene.config.input_format
        length_ms = wire.ms(len(event.raw))
        if not self._detects and self._buffered_ms + length_ms > scene.settings.buffer_ms:
            message = f"The input audio buffer holds {scene.settings.buffer_ms} ms at most. Commit or clear it."
            scene.reject("input_audio_buffer_overflow", message, event.event_id)
            return
        self.heard_audio = True
        self._watch.client_sent(scene.now_ms, length_ms)
        if not self._detects and self._open is None:
            self._open = Segment(self._new_item_id(), self._tape.end_ms)
        self._add(event.raw, event.pcm)

    def _add(self, raw: bytes, pcm: bytes) -> None:
        before_ms = self._tape.end_ms
        self._tape.append(raw)
        self._buffered_ms += self._tape.end_ms - before_ms
        if self._open is None and self._tape.end_ms - self._tape.start_ms > self._forgets_at_ms:
            detection = self._scene.config.turn_detection
            kept_ms = UNJUDGED_MS + (detection.prefix_padding_ms if detection is not None else 0)
            self._tape.forget_before(self._tape.end_ms - kept_ms)
            self._forgets_at_ms = kept_ms + FORGOTTEN_MS
        # In a pause, the silence that ends the turn may be complete in the middle of a window.
        self._send(self._input.push(pcm, in_full=self._turns.paused))

    def _send(self, blocks: Iterable[tuple[int, bytes]]) -> None:
        out = self._scene.out
        for position, block in blocks:
            out.append(do.SendAudio(block, position))
        self._expect_use()

    def commit(self, event: client.CommitInput) -> None:
        """Make an item of the audio that is not one yet."""
        if self._buffered_ms < LEAST_MS:
            message = (
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {self._buffered_ms:.2f}ms of audio."
            )
            self._scene.reject("input_audio_buffer_commit_empty", message, event.event_id)
            return
        end_sample = self._flush()
        start_ms = max(self._tape.end_ms - self._buffered_ms, self._tape.start_ms)
        segment = self._open or Segment(self._new_item_id(), start_ms)
        self._open = None
        self._scene.say(do.CommitAudio(end_sample))
        passed = self._input.consumed_sample >= end_sample
        self._close(segment, end_sample, self._tape.end_ms, Stage.SETTLED if passed else Stage.COMMITTED)
        self._texts.finish_if_known(segment)

    def clear(self) -> None:
        """Forget the audio that is not an item yet."""
        self._forget()
        self._scene.say(tell.Cleared())

    def _forget(self) -> None:
        at_sample = self._flush()
        self._buffered_ms = 0.0
        self._texts.dead_sample = at_sample
        if self._open is not None:
            self._texts.drop_turns(self._open)
            self._open = None
        self._watch.turn_ended()
        self._tape.forget_before(self._tape.end_ms)
        if at_sample:
            self._scene.say(do.ClearAudio(at_sample))

    def _flush(self) -> int:
        """Send what is short of a window; return the position that follows everything."""
        self._send(self._input.flush())
        return self._input.at_sample

    def reconfigure(self, event: client.UpdateSession) -> None:
        """Use the session's new configuration for what follows. The scene has the old one still."""
        old, new = self._scene.config, event.config
        detects = new.turn_detection is not None
        if detects and not self._detects and self._open is not None:
            self._forget()  # what detection is asked for holds for audio that comes
        elif not detects and self._detects:
            self._flush()
            if self._open is None:  # silence that detection has passed over
                self._buffered_ms = 0.0
        self._scene.config = new
        self._patient_in_speech = _is_patient_in_speech(new)
        if new.input_format != old.input_format:
            self._buffered_ms = 0.0
            self._tape.use_format(new.input_format.ms(1) ** -1, new.input_format.bytes_per_sample)
        if endpointing_of(new) != endpointing_of(old) or new.transcription != old.transcription:
            self._scene.say(do.UpdateInput())

    # -- the vad ------------------------------------------------------------------------------------------------------

    def consumed(self, event: ev.AudioConsumed) -> None:
        """Note what the vad has used."""
        self._used(event.at_sample)
        for segment in self._texts.closing[:]:
            if segment.end_sample <= self._input.consumed_sample:
                self._texts.settle(segment)

    def _used(self, at_sample: int) -> None:
        if at_sample <= self._input.consumed_sample:
            return
        was_full = self._input.full
        self._input.consumed(at_sample)
        if was_full and not self._input.full:
            self._watch.client_held_up(self._scene.now_ms)
        self._watch.vad_owes_nothing()
        self._expect_use()
        for segment in self._texts.closing:
            if segment.settle_due_ms is not None:
                segment.settle_due_ms = self._scene.now_ms + self._scene.settings.settle_ms

    def _expect_use(self) -> None:
        if self._input_open and not self._input.caught_up:
            self._watch.vad_owes(self._scene.now_ms)

    def speech_started(self, event: ev.SpeechStarted) -> None:
        """Open a segment, or find the one that the turn began in."""
        if not self._input_open or not self._turns.expects(event):
            return
        if self._turns.state is TurnState.SPEAKING:  # the stop was lost
            before = ev.SpeechStopped(self._turns.newest, event.at_sample, event.at_sample)
            self.speech_stopped(before)
        self._used(event.decided_at_sample)
        self._watch.turn_ended()
        self._turns.receive(event)
        early = self._turns.kept(event.turn_id)
        segment = self._segment_of(event)
        if segment is None:
            self._texts.drop(event.turn_id)
            return
        self._newest_used = event.turn_id
        self._utterances.begin(event.turn_id, event.at_sample)
        self._texts.begin(event.turn_id, segment)
        match early:
            case ev.Transcript():
                self._texts.transcript(early)
            case ev.TurnFailed():
                self._texts.turn_failed(early)

    def _segment_of(self, event: ev.SpeechStarted) -> Segment | None:
        for segment in self._texts.closing[:]:
            if segment.stage is Stage.COMMITTED:
                if _begins_before(event, segment.end_sample):
                    return segment
                self._texts.settle(segment)
        if _begins_before(event, self._texts.dead_sample):
            return None
        if self._open is None:
            self._open = Segment(self._new_item_id(), to_ms(event.at_sample))
            if self._detects:
                self._scene.say(tell.SpeechStarted(self._open.item_id, self._clock.told(to_ms(event.at_sample))))
                self._interrupt()
        return self._open

    def speech_stopped(self, event: ev.SpeechStopped) -> None:
        """Commit the segment, if detection is what ends it."""
        if not self._turns.expects(event):
            return
        self._used(event.decided_at_sample)
        self._watch.turn_ended()
        self._turns.receive(event)
        self._judged_sample = max(self._judged_sample, event.decided_at_sample)
        segment = self._texts.of_turn.get(event.turn_id)
        if segment is None:
            return
        if segment.stage is Stage.OPEN:
            if self._detects:
                self._end_speech(segment, event.at_sample)
        elif event.decided_at_sample >= segment.end_sample:
            self._texts.settle(segment)
        self._scene.say(*self._utterances.stop(event.turn_id, event.at_sample))

    def _end_speech(self, segment: Segment, at_sample: int) -> None:
        end_ms = max(to_ms(at_sample), int(segment.start_ms))
        self._scene.say(tell.SpeechStopped(segment.item_id, self._clock.told(end_ms)))
        self._open = None
        self._close(segment, at_sample, end_ms, Stage.SETTLED)
        if segment.entry is not None:
            self._answer(segment.entry)
        self._texts.finish_if_known(segment)

    def _close(self, segment: Segment, end_sample: int, end_ms: float, stage: Stage) -> None:
        """Make *segment* an item."""
        scene = self._scene
        wire = scene.config.input_format
        audio = self._tape.read(segment.start_ms, end_ms)
        self._tape.forget_before(end_ms)
        self._buffered_ms = max(0.0, self._tape.end_ms - end_ms)
        self._committed_ms = end_ms
        part = Part("input_audio", audio_ms=max(0.0, end_ms - segment.start_ms))
        item = Item(segment.item_id, "message", "user", parts=[part])
        segment.entry = Entry(
            item, heard=None, audio=bytearray(audio), format=wire, turn_id=max(segment.turns, default=0)
        )
        segment.end_sample = end_sample
        self._judged_sample = max(self._judged_sample, end_sample)
        segment.stage = stage
        segment.transcribed = scene.config.transcription is not None
        segment.due_ms = scene.now_ms + scene.settings.transcript_timeout_ms
        self._await_turns(segment)
        self._texts.await_text(segment)
        previous = self._conversation.add(segment.entry)
        scene.say(
            tell.Committed(item.id, previous),
            tell.ItemAdded(segment.entry.view(), previous),
            tell.ItemDone(segment.entry.view(), previous),
        )
        self._texts.tell_partial(segment)

    def _await_turns(self, segment: Segment) -> None:
        """Give the vad its time to say that there was speech in a committed segment."""
        if self._input_open and segment.stage is Stage.COMMITTED and (self._detects or segment.turns):
            segment.settle_due_ms = self._scene.now_ms + self._scene.settings.settle_ms

    def commit_silence(self, idle_ms: float) -> None:
        """Make an item of the time in which an idle user said nothing."""
        scene = self._scene
        end_ms = self._tape.end_ms
        start_ms = max(self._committed_ms, end_ms - idle_ms)
        segment = Segment(self._new_item_id(), start_ms)
        scene.say(tell.TimeoutTriggered(segment.item_id, self._clock.told(start_ms), self._clock.told(end_ms)))
        self._close(segment, self._input.at_sample, end_ms, Stage.SETTLED)
        self._texts.finish(segment)
        if segment.entry is not None:
            segment.entry.heard = SILENCE
            self._answer(segment.entry)

    # -- what goes wrong, and time ------------------------------------------------------------------------------------

    def lost(self, event: ev.InputLost) -> None:
        """Go on without a vad until there is one."""
        if self._input_open:
            self._input_open = False
            self._leave_vad(event.message)

    def _leave_vad(self, message: str) -> None:
        """Let a turn that is open wait for the next vad; only the first time, and not for ever."""
        self._watch.vad_owes_nothing()
        self._watch.turn_ended()
        for closing in self._texts.closing:
            closing.settle_due_ms = None  # nobody is there who could say that there was speech
        if self._turns.state is not TurnState.SPEAKING:
            return
        turn_id = self._turns.newest
        segment = self._texts.of_turn.get(turn_id)
        heard = segment is not None and segment.stage is Stage.SETTLED
        if self._turns.awaits(turn_id) and (heard or self._moved_turn != turn_id):
            self._moved_turn = turn_id
            self._utterances.interrupted(turn_id)
            self._scene.say(do.CancelTurn(turn_id))
            if segment is not None and heard:  # to its end, which is known: it needs no other vad
                self.speech_stopped(ev.SpeechStopped(turn_id, segment.end_sample, segment.end_sample))
            else:
                self._input_due_ms = self._scene.now_ms + self._scene.settings.transcript_timeout_ms
        else:
            self._give_up_turn(message)

    def _give_up_turn(self, message: str) -> None:
        """End the open turn without a vad: what was said is lost, if it has no text yet."""
        self._input_due_ms = None
        if self._turns.state is not TurnState.SPEAKING:  # its end was on its way when the vad was left
            return
        newest = self._turns.newest
        awaited = self._turns.awaits(newest)
        self._turns.receive(ev.InputLost(message))
        self._utterances.end(newest)
        segment = self._texts.of_turn.get(newest)
        if segment is not None and awaited:
            self._scene.say(do.CancelTurn(newest))
            segment.turns[newest] = ""
            segment.failed = message
        if self.speaking and self._open is not None:
            self._end_speech(self._open, self._input.consumed_sample)
        elif segment is not None:
            self._texts.finish_if_known(segment)

    def found(self) -> None:
        """Go on with a new vad: it gets what the old one has not used, and goes on with the turn that is open."""
        if self._input_open:
            self._leave_vad("vad: the service is gone")
        self._input_open = True
        self._input_due_ms = None
        in_turn = self._turns.state is TurnState.SPEAKING
        at_sample = self._input.consumed_sample
        if self._detects and not in_turn:  # it may have been about to hear a turn begin
            judged = max(self._judged_sample, self._texts.dead_sample)
            at_sample = max(min(judged, at_sample), at_sample - BACK_MS * SAMPLE_RATE // 1000, 0)
        again = self._input.again(at_sample)
        at_sample = again[0][0] if again else self._input.at_sample
        self._scene.say(do.OpenInput(at_sample, self._turns.newest + (not in_turn), in_turn))
        marks: list[do.CommitAudio | do.ClearAudio] = [
            do.CommitAudio(segment.end_sample) for segment in self._texts.closing if segment.stage is Stage.COMMITTED
        ]
        marks.append(do.ClearAudio(self._texts.dead_sample))
        marks = [mark for mark in marks if mark.at_sample > at_sample]
        marks.sort(key=lambda mark: mark.at_sample)
        for position, block in again:
            while marks and marks[0].at_sample <= position:
                self._scene.say(marks.pop(0))
            self._scene.say(do.SendAudio(block, position))
        self._scene.say(*marks)
        for segment in self._texts.closing:
            self._await_turns(segment)
        self._expect_use()

    def next_tick_ms(self) -> float | None:
        """Return when time alone changes something."""
        times = [due_ms for due_ms in (self._watch.vad_due_ms, self._input_due_ms) if due_ms is not None]
        if self._starves:
            times.append(self._watch.starving_at_ms)
        text_due_ms = self._texts.next_tick_ms()
        if text_due_ms is not None:
            times.append(text_due_ms)
        return min(times, default=None)

    @property
    def _starves(self) -> bool:
        return self.speaking and self._input_open and not self._input.full

    def tick(self) -> None:
        """Give up what is overdue."""
        now_ms = self._scene.now_ms
        if self._starves and now_ms >= self._watch.starving_at_ms:
            self._starve()
        if self._input_due_ms is not None and now_ms >= self._input_due_ms:
            self._give_up_turn("vad: none was there in time")
        vad_due_ms = self._watch.vad_due_ms
        if vad_due_ms is not None and now_ms >= vad_due_ms:
            self._scene.say(do.CloseInput())
            self.lost(ev.InputLost("vad: nothing came in time"))
        self._texts.tick()

    def _starve(self) -> None:
        """Give the vad the silence that a client which stopped sending would have sent."""
        config = self._scene.config
        room_ms = IN_FLIGHT_MS - int(self._input.in_flight_ms)
        silence_ms = min(endpointing_of(config).longest_silence_ms + STARVED_EXTRA_MS, room_ms)
        self._watch.silence_sent(self._scene.now_ms)
        self._clock.skip(self._tape.end_ms, silence_ms)
        wire = config.input_format
        samples = silence_ms * wire.rate // 1000
        silent = SILENT_BYTE[wire.encoding] * (samples * wire.bytes_per_sample)
        self._add(silent, bytes(silence_ms * BYTES_PER_MS))

    def _new_item_id(self) -> str:
        return self._scene.new_id("item")


def _is_patient_in_speech(config: SessionConfig) -> bool:
    """Tell whether audio may wait until the vad tells of a pause. A model that is asked at pauses wants them early."""
    asked = endpointing_of(config)
    return asked.pause_ms > 0 and not asked.end_of_turn_threshold


def _begins_before(event: ev.SpeechStarted, sample: int) -> bool:
    """Tell whether the vad began this turn before it came to *sample*, where something ended."""
    return event.at_sample < sample and event.decided_at_sample <= sample
