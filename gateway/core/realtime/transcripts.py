"""From turns to texts: what the asr makes of the user's segments, and when it is given up.

A segment leaves when its item has its text, or is known to get none.
"""

from gateway.core.realtime import commands as do
from gateway.core.realtime import events as ev
from gateway.core.realtime import notices as tell
from gateway.core.realtime.scene import Scene
from gateway.core.realtime.segment import Segment, Stage
from gateway.core.turn import Turns
from gateway.core.utterances import Utterances


class Transcripts:
    """Follows the turns that are recognised and the segments that wait for them."""

    def __init__(self, scene: Scene, utterances: Utterances) -> None:
        self._scene = scene
        self._utterances = utterances
        self.turns = Turns()
        self.of_turn: dict[int, Segment] = {}
        self.closing: list[Segment] = []
        """Committed segments, in order; each leaves when its text is known, or overdue."""
        self.dead_sample = 0
        """Turns that began before this belong to nothing any more."""

    def await_text(self, segment: Segment) -> None:
        """Follow a segment that has become an item."""
        self.closing.append(segment)

    def begin(self, turn_id: int, segment: Segment) -> None:
        """Note that a turn belongs to *segment*."""
        segment.turns[turn_id] = None
        if segment.entry is not None:
            segment.entry.turn_id = turn_id
        self.of_turn[turn_id] = segment

    def partial(self, event: ev.PartialTranscript) -> None:
        """Tell what has been understood so far."""
        segment = self.of_turn.get(event.turn_id)
        if segment is None or not self.turns.awaits(event.turn_id):
            return
        segment.partials[event.turn_id] = event.text
        self.tell_partial(segment)

    def tell_partial(self, segment: Segment) -> None:
        """Tell what was understood of an item so far."""
        entry = segment.entry
        if entry is None or entry.deleted or not segment.transcribed or segment.failed:
            return
        text = segment.partial
        if len(text) > len(segment.told) and text.startswith(segment.told):
            self._scene.say(tell.TranscriptionDelta(segment.item_id, text[len(segment.told) :]))
            segment.told = text

    def transcript(self, event: ev.Transcript) -> None:
        """Note a turn's text."""
        if not self.turns.expects(event):
            self.turns.keep(event)
            return
        self.turns.receive(event)
        self._utterances.end(event.turn_id)
        segment = self.of_turn.get(event.turn_id)
        if segment is not None:
            segment.turns[event.turn_id] = event.text
            self.finish_if_known(segment)

    def turn_taken(self, event: ev.TurnTaken) -> None:
        """Give a recogniser that a turn has waited for all of its time."""
        segment = self.of_turn.get(event.turn_id)
        if segment is not None and segment.due_ms is not None:
            segment.due_ms = self._scene.now_ms + self._scene.settings.transcript_timeout_ms

    def turn_failed(self, event: ev.TurnFailed) -> None:
        """Have another recogniser try the turn, or note that it will have no text."""
        if not self.turns.expects(event):
            self.turns.keep(event)
            return
        segment = self.of_turn.get(event.turn_id)
        if segment is not None and event.retryable:
            again = self._utterances.failed(event.turn_id, refused=event.refused)
            if again is not None:
                self._recognise(segment, again)
                return
        self.turns.receive(event)
        self._utterances.end(event.turn_id)
        if segment is not None:
            segment.turns[event.turn_id] = ""
            segment.failed = event.message
            self.finish_if_known(segment)

    def _recognise(self, segment: Segment, again: list[do.RecogniseAgain]) -> None:
        self._scene.say(*again)
        if again and segment.due_ms is not None:
            segment.due_ms = self._scene.now_ms + self._scene.settings.transcript_timeout_ms

    def settle(self, segment: Segment) -> None:
        """Note that the vad has passed the segment's end."""
        if segment.stage is Stage.COMMITTED:
            segment.stage = Stage.SETTLED
        segment.settle_due_ms = None
        self.finish_if_known(segment)

    def finish_if_known(self, segment: Segment) -> None:
        """Give the item its text if nothing of it is awaited any more."""
        known = segment.stage is Stage.SETTLED and not segment.awaits
        if segment.stage in (Stage.COMMITTED, Stage.SETTLED) and (known or segment.failed):
            self.finish(segment)

    def finish(self, segment: Segment) -> None:
        """Give the item its text, or say that it has none."""
        segment.stage = Stage.DONE
        self.closing.remove(segment)
        self.drop_turns(segment)
        if segment.failed:
            self.dead_sample = max(self.dead_sample, segment.end_sample)  # a new vad may hear it again
        entry = segment.entry
        if entry is None or entry.deleted:
            return
        part = entry.item.parts[0]
        if segment.failed:
            entry.failed = segment.failed
            if segment.transcribed:
                self._scene.say(tell.TranscriptionFailed(segment.item_id, segment.failed))
            return
        entry.heard = segment.text
        if segment.transcribed:
            part.text = segment.text
            seconds = round(part.audio_ms / 1000, 3)
            self._scene.say(tell.TranscriptionCompleted(segment.item_id, segment.text, seconds))

    def drop_turns(self, segment: Segment) -> None:
        """Stop recognising what nobody waits for any more."""
        for turn_id, text in segment.turns.items():
            self.of_turn.pop(turn_id, None)
            if text is None:
                self.drop(turn_id)
                segment.turns[turn_id] = ""

    def drop(self, turn_id: int) -> None:
        """Stop recognising a turn, and follow it no more."""
        self._scene.say(do.CancelTurn(turn_id))
        self._utterances.end(turn_id)
        for over in (ev.SpeechStopped(turn_id, 0, 0), ev.TurnFailed(turn_id, "")):
            if self.turns.expects(over):
                self.turns.receive(over)

    def next_tick_ms(self) -> float | None:
        """Return when time alone changes something."""
        times: list[float] = []
        for segment in self.closing:
            times += [due_ms for due_ms in (segment.due_ms, segment.settle_due_ms) if due_ms is not None]
        return min(times, default=None)

    def tick(self) -> None:
        """Give up what is overdue."""
        now_ms = self._scene.now_ms
        for segment in self.closing[:]:
            if segment.due_ms is not None and now_ms >= segment.due_ms:
                self._overdue(segment, "asr: no transcript came in time")
            elif segment.settle_due_ms is not None and now_ms >= segment.settle_due_ms:
                self.settle(segment)

    def _overdue(self, segment: Segment, message: str) -> None:
        """Have other recognisers try what is awaited, or give the segment up."""
        awaited = [turn_id for turn_id, text in segment.turns.items() if text is None]
        again = [self._utterances.failed(turn_id, elsewhere=message) for turn_id in awaited]
        if awaited and not segment.failed and all(again):
            self._recognise(segment, [command for commands in again for command in commands or ()])
        else:
            segment.failed = segment.failed or message
            self.finish_if_known(segment)
