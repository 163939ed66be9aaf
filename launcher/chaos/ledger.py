"""What one session was told, turn by turn, and whether that is as it must be. No I/O; times are seconds of one clock.

Checked: every turn has one end, within its deadline. Nothing is heard outside an answer. What is written and what
sounds names the turn's own tone and no other. An answer that is called complete is whole. The beginnings and ends of
speech come in pairs, and where they were said.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from launcher.chaos import canary

# The end of speech is told as a position after the last word, by the silence that ends a turn, which a vad that takes
# over in that silence counts anew: 500 ms each, and the windows of the detector.
NEAR_MS: Final = 1150.0
# Rounding to samples and to blocks, and what a resampler keeps back.
LENGTH_MS: Final = 45.0
DRAFT: Final = "cancelled"


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of an answer: mono s16le."""

    pcm: bytes
    rate: int


@dataclass(frozen=True, slots=True)
class Words:
    """A text that was recognised or answered, or a piece of one."""

    text: str


@dataclass(frozen=True, slots=True)
class Started:
    """The user was heard to speak."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The user was heard to end, at *at_ms* of the audio sent."""

    at_ms: float


@dataclass(frozen=True, slots=True)
class Ended:
    """An answer, or a turn that gets none, is over: *status* as in the Realtime protocol."""

    status: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Complaint:
    """The suite says that something is wrong, without an end of anything."""

    message: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A turn has no transcript; the end of its answer says so, too."""


Item = Sound | Words | Started | Stopped | Ended | Complaint | Lost


class Outcome(Enum):
    """What came of a turn."""

    OPEN = "open"
    ANSWERED = "answered"
    FAILED = "failed"
    OVERDUE = "overdue"


@dataclass(slots=True)
class Turn:
    """One utterance and its answer. *spoken_s*: when its last sample had been sent, *spoken_ms* of the audio sent."""

    hertz: int
    begun_s: float
    spoken_s: float | None = None
    spoken_ms: float = 0.0
    first_sound_s: float | None = None
    ended_s: float | None = None
    outcome: Outcome = Outcome.OPEN
    why: str = ""
    rate: int = canary.RATE
    sound: bytearray = field(default_factory=bytearray)
    """While the turn is open."""
    text: str = ""
    answer_ms: float = 0.0
    """How long the answer sounded, when it is over."""

    @property
    def silence_s(self) -> float | None:
        """How long the user waited after the words for the first sound; None if none came."""
        if self.first_sound_s is None or self.spoken_s is None:
            return None
        return self.first_sound_s - self.spoken_s


class Ledger:
    """The account of one session. *answer_ms*: how long a whole answer sounds, None if that is not known yet.

    *failures_told*: the protocol tells of turns and answers that failed.
    """

    def __init__(self, name: str, answer_ms: float | None = None, *, failures_told: bool = True) -> None:
        self._name = name
        self._answer_ms = answer_ms
        self._failures_told = failures_told
        self._speaking = False
        self.current: Turn | None = None
        self.turns: list[Turn] = []
        self.wrong: list[str] = []
        """What must never be, in words."""
        self.complaints: list[str] = []
        self._stray = bytearray()  # heard outside an answer
        self._stray_rate = canary.RATE
        self.transcripts_lost = 0
        self.drafts = 0
        """Answers that were taken back before anything of them was heard, because the user went on."""

    def begin(self, hertz: int, now_s: float) -> Turn:
        """Begin a turn that names *hertz*."""
        self.settle()
        turn = self.current = Turn(hertz, now_s)
        self.turns.append(turn)
        return turn

    def spoken(self, at_s: float, at_ms: float) -> None:
        """Note that all of the turn's words are sent: at the time *at_s*, up to *at_ms* of the session's audio."""
        self.turns[-1].spoken_s, self.turns[-1].spoken_ms = at_s, at_ms

    def heard(self, item: Item, now_s: float) -> None:
        """Take what the suite tells."""
        match item:
            case Sound():
                self._sound(item, now_s)
            case Words():
                self._words(item.text)
            case Started() | Stopped():
                self._speech(item)
            case Ended():
                self._ended(item, now_s)
            case Complaint():
                self.complaints.append(item.message)
            case Lost():
                self.transcripts_lost += 1

    def overdue(self, now_s: float) -> None:
        """Note that the turn's deadline is over. In a protocol that tells of no failures, silence is how one shows."""
        if self.current is None:
            return
        if self._failures_told or self.current.sound:
            self._wrong(f"turn {len(self.turns)}: no end within the deadline")
            self.end(Outcome.OVERDUE, "no end within the deadline", now_s)
        else:
            self.end(Outcome.FAILED, "nothing was heard within the deadline", now_s)

    def closed(self, why: str, now_s: float) -> None:
        """Note that the suite hung up, which it should not."""
        self._wrong(f"the connection ended: {why}")
        self.end(Outcome.FAILED, why, now_s)

    def goodbye(self, now_s: float) -> None:
        """Note that the suite hung up as it should when it stops: no turn that it heard of is left without its end."""
        if self.current is not None and self.current.spoken_s is None and not self._speaking:
            self.turns.remove(self.current)  # the first words met the goodbye on the way
            self.current = None
        if self.current is not None:
            self._wrong(f"turn {len(self.turns)}: the suite hung up before its end")
            self.end(Outcome.FAILED, "hung up", now_s)

    def end(self, outcome: Outcome, why: str, now_s: float) -> None:
        """End the turn that is open, if one is."""
        turn, self.current = self.current, None
        if turn is None:
            return
        turn.outcome, turn.why, turn.ended_s = outcome, why, now_s
        # Without the silence that fills the last block of a client who is sent whole blocks.
        turn.answer_ms = len(turn.sound.rstrip(b"\0")) / 2 / turn.rate * 1000
        for hertz, blocks in canary.heard_in(bytes(turn.sound), turn.rate).items():
            if hertz != turn.hertz:
                self._wrong(f"turn {len(self.turns)} of {turn.hertz} Hz: {20 * blocks} ms of {hertz} Hz in its answer")
        for hertz in canary.named_in(turn.text) - {turn.hertz}:
            self._wrong(f"turn {len(self.turns)} of {turn.hertz} Hz: tone {hertz} in its words")
        if outcome is Outcome.ANSWERED and self._answer_ms is not None:
            beyond_ms = turn.answer_ms - self._answer_ms
            if abs(beyond_ms) > LENGTH_MS:
                self._wrong(f"turn {len(self.turns)}: complete, but {beyond_ms:+.0f} ms longer than an answer is")
        turn.sound.clear()

    def settle(self) -> None:
        """Note what was heard outside an answer; to be called at the end, too."""
        if self._stray:
            whose = ", ".join(f"{hertz} Hz" for hertz in canary.heard_in(bytes(self._stray), self._stray_rate))
            ms = len(self._stray) / 2 / self._stray_rate * 1000
            self._wrong(f"after turn {len(self.turns)}: {ms:.0f} ms of {whose or 'silence'} that belong to nothing")
            self._stray.clear()

    def _sound(self, item: Sound, now_s: float) -> None:
        turn = self.current
        if turn is None:
            self._stray += item.pcm
            self._stray_rate = item.rate
            return
        turn.rate = item.rate
        turn.sound += item.pcm
        if turn.first_sound_s is None:
            turn.first_sound_s = now_s

    def _words(self, text: str) -> None:
        if self.current is not None:
            self.current.text += text
        elif text.strip():
            self._wrong(f"after turn {len(self.turns)}: words that belong to nothing")

    def _speech(self, item: Started | Stopped) -> None:
        begins = isinstance(item, Started)
        if begins == self._speaking:
            self._wrong(f"turn {len(self.turns)}: its speech {'began' if begins else 'ended'} twice")
        self._speaking = begins
        turn = self.turns[-1] if self.turns else None
        if isinstance(item, Stopped) and turn is not None and turn.spoken_s is not None:
            late_ms = item.at_ms - turn.spoken_ms
            if abs(late_ms) > NEAR_MS:
                self._wrong(f"turn {len(self.turns)}: its end was heard {late_ms:.0f} ms from where it was")

    def _ended(self, item: Ended, now_s: float) -> None:
        turn = self.current
        if item.status == DRAFT and (turn is None or not turn.sound):
            self.drafts += 1
            if turn is not None:
                turn.text = ""
        elif turn is None:
            self._wrong(f"after turn {len(self.turns)}: one end more ({item.status} {item.why})")
        elif item.status == "completed":
            self.end(Outcome.ANSWERED, "", now_s)
        else:
            self.end(Outcome.FAILED, item.why or item.status, now_s)

    def _wrong(self, what: str) -> None:
        self.wrong.append(f"{self._name}: {what}")
