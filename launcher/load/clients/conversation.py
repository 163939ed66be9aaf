"""What one client sees of its conversation, whatever the protocol: turns ended, answers heard, silenced, lost. No I/O.

Times are ms of the run. Counted from scheduled moments:

latency                 from the chunk whose samples complete the silence that ends the turn to the first audio of the
                        answer: own latency, where engines answer at once
voice_to_voice          from the chunk with the last sound to the first audio: what a person waits
silence_after_barge_in  from the chunk with the first sound of the interruption until the voice is silent
"""

from typing import Final

from launcher.load.findings import Findings
from launcher.load.playout import Playout
from launcher.load.schedule import Turn, Visit

SILENCE_MS: Final = 500
# A detector may hear the end of a phrase so much later than it was.
NEAR_MS: Final = 700


class _Heard:
    """What came of a turn."""

    def __init__(self) -> None:
        self.stopped = False
        self.playout: Playout | None = None
        self.over = False
        self.answered = False
        self.silenced_ms: float | None = None
        self.why = ""


class Conversation:
    """One visit to a gateway.

    *flushes*: the client has its own player and empties it when it is told of speech; else what came has been heard.
    """

    def __init__(self, visit: Visit, findings: Findings, chunk_ms: int, *, flushes: bool) -> None:
        self.visit = visit
        self.findings = findings
        self._chunk_ms = chunk_ms
        self._flushes = flushes
        self._heard = [_Heard() for _ in visit.turns]
        self._current: int | None = None  # the turn whose answer is awaited or heard
        self._due_ms = 0.0  # when its silence was complete
        self.admitted = False
        self.refused = False

    def stopped(self, end_ms: float, now_ms: float) -> None:  # noqa: ARG002 - one signature for all that is heard
        """Take the end of a turn, at *end_ms* of the client's audio."""
        place = self._planned(end_ms)
        if place is None:
            self.findings.counts["split"] += 1
            return
        heard = self._heard[place]
        if heard.stopped and heard.playout is not None:
            self.findings.counts["split"] += 1
        heard.stopped = True
        self._current = place
        self._due_ms = self.visit.begins_ms + self._due_of(end_ms)

    def audio(self, length_ms: float, now_ms: float) -> None:
        """Take a piece of an answer."""
        if self._current is None:
            self.findings.counts["audio_without_turn"] += 1
            return
        heard = self._heard[self._current]
        if heard.playout is None:
            heard.playout = Playout(self.findings)
            self.findings.time("latency", now_ms - self._due_ms)
            turn = self.visit.turns[self._current]
            end_ms = self.visit.begins_ms + self._due_of(turn.end_ms)
            self.findings.time("voice_to_voice", now_ms - end_ms)
        heard.playout.take(length_ms, now_ms)

    def interrupted(self, now_ms: float) -> None:
        """Take the word that the user speaks: a player is emptied."""
        place = self._interruption(now_ms)
        if place is None or self._heard[place - 1].silenced_ms is not None:
            return
        before = self._heard[place - 1]
        onset_ms = self._onset_ms(self.visit.turns[place])
        if before.playout is not None:
            before.silenced_ms = max(0.0, (now_ms if self._flushes else before.playout.last_ms) - onset_ms)
            before.over = before.answered = True

    def ended(self, *, completed: bool, why: str, now_ms: float) -> None:
        """Take the end of an answer; *why* it was not completed."""
        if self._current is None:
            return
        heard = self._heard[self._current]
        if heard.playout is None and not completed:
            # Given up before it sounded: a draft, because the user went on, or a failure.
            if why != "cancelled":
                heard.over, heard.why = True, why
            return
        # An answer that was sent whole may be cancelled while it is played: it counts once.
        if not heard.over:
            heard.over, heard.answered = True, completed
            heard.why = "" if completed else why
            if not completed and self._speaking(now_ms) == self._current + 1:
                heard.answered, heard.why = True, ""
                # Longer than the pause of whoever asked for it: the user's own doing.
                self.findings.counts["talked_over"] += not self.visit.turns[self._current + 1].interrupts

    def failed(self, why: str) -> None:
        """Take the word that the newest turn is lost."""
        if self._current is not None and not self._heard[self._current].over:
            self._heard[self._current].over = True
            self._heard[self._current].why = why

    @property
    def settled(self) -> bool:
        """Whether every answer that is waited for has come or failed."""
        return not self.admitted or all(
            heard.over or turn.abandoned for turn, heard in zip(self.visit.turns, self._heard, strict=True)
        )

    def settle(self, *, ends_told: bool) -> None:
        """Count. *ends_told*: the protocol tells where answers end; else what sounded was answered."""
        counts = self.findings.counts
        for place, (turn, heard) in enumerate(zip(self.visit.turns, self._heard, strict=True)):
            if not ends_told and heard.playout is not None:
                heard.over = heard.answered = True
            self._barge_in(place, turn)
            if turn.abandoned:
                continue
            if self.refused:
                counts["turns_refused"] += 1
                continue
            counts["turns"] += 1
            if heard.answered:
                counts["answered"] += 1
            elif not self.admitted:
                pass  # why is counted with the connection
            elif not heard.over:
                self.findings.error(_missing(heard, ends_told=ends_told))
            else:
                self.findings.error(f"answer {heard.why or 'not completed'}")

    def spoke_over(self, now_ms: float) -> None:
        """Take audio of a protocol that has no events: it may be the rest of an interrupted answer."""
        place = self._interruption(now_ms)
        if place is not None:
            before = self._heard[place - 1]
            before.silenced_ms = max(0.0, now_ms - self._onset_ms(self.visit.turns[place]))

    def answering(self, now_ms: float) -> None:
        """Guess, for a protocol that has no events, whose answer comes: that of the words that ended last."""
        for place in reversed(range(len(self.visit.turns))):
            turn = self.visit.turns[place]
            due_ms = self.visit.begins_ms + self._due_of(turn.end_ms + SILENCE_MS)
            if now_ms >= due_ms - self._chunk_ms:
                if self._current != place and not self._heard[place].stopped:
                    self._current, self._due_ms = place, due_ms
                    self._heard[place].stopped = True
                return

    def _barge_in(self, place: int, turn: Turn) -> None:
        if not turn.interrupts:
            return
        before, onset_ms = self._heard[place - 1], self._onset_ms(turn)
        if before.silenced_ms is not None:
            self.findings.counts["barge_ins"] += 1
            self.findings.time("silence_after_barge_in", before.silenced_ms)
        elif before.playout is None or before.playout.dry_ms <= onset_ms:
            self.findings.counts["nothing_to_interrupt"] += 1
        else:
            self.findings.counts["barge_ins"] += 1
            self.findings.error("an interruption did not silence the voice")

    def _interruption(self, now_ms: float) -> int | None:
        """Return the place of the turn that interrupts an answer and is being said now."""
        place = self._speaking(now_ms)
        if place is None or not self.visit.turns[place].interrupts:
            return None
        playout = self._heard[place - 1].playout
        return place if playout is not None and playout.dry_ms > self._onset_ms(self.visit.turns[place]) else None

    def _speaking(self, now_ms: float) -> int | None:
        """Return the place of the turn that is being said."""
        for place, turn in enumerate(self.visit.turns):
            onset_ms = self._onset_ms(turn)
            if onset_ms <= now_ms <= onset_ms + turn.length_ms + SILENCE_MS:
                return place
        return None

    def _planned(self, end_ms: float) -> int | None:
        for place, turn in enumerate(self.visit.turns):
            if turn.at_ms < end_ms <= turn.end_ms + SILENCE_MS + NEAR_MS:
                return place
        return None

    def _onset_ms(self, turn: Turn) -> float:
        return self.visit.begins_ms + self._due_of(turn.at_ms + 1)

    def _due_of(self, at_ms: float) -> int:
        """Return when the chunk leaves that holds the audio before *at_ms*, in ms of the visit."""
        return -(-round(at_ms) // self._chunk_ms) * self._chunk_ms


def _missing(heard: _Heard, *, ends_told: bool) -> str:
    if heard.playout is not None:
        return "the end of the answer did not come"
    return "no answer" if heard.stopped or not ends_told else "the end of the turn was not heard"
