"""Tells a session a story: time that passes with its ticks, a client that speaks, services that answer."""

from collections.abc import Sequence
from typing import TypeVar

from gateway.core import commands as do
from gateway.core import events as ev
from gateway.core.input import BYTES_PER_MS, to_ms
from gateway.core.session import Session, SessionSettings
from tests.gateway.core.invariants import Ledger

C = TypeVar("C")

CHUNK_MS = 32
# A tick must change something: either a command comes, or the next one is due later.
IDLE_TICKS = 5


class Story:
    """One session on a clock of its own, every command of which is checked."""

    def __init__(self, settings: SessionSettings | None = None) -> None:
        self.now_ms = 1000.0
        self.session = Session(settings or SessionSettings(), self.now_ms)
        self.ledger = Ledger()
        self.ledger.take(self.session.start())
        self.sent_samples = 0

    def tell(self, *events: ev.Event) -> list[do.Command]:
        """Give the session *events* now; return what they led to."""
        commands: list[do.Command] = []
        for event in events:
            came = self.session.receive(event, self.now_ms)
            self.ledger.take(came)
            commands += came
        self.sent_samples = max(
            [self.sent_samples, *(c.at_sample + len(c.pcm) // 2 for c in commands if isinstance(c, do.SendAudio))]
        )
        return commands

    def wait(self, ms: float) -> list[do.Command]:
        """Let time pass, with a tick whenever the session wants one; return what it did."""
        end_ms = self.now_ms + ms
        commands: list[do.Command] = []
        idle = 0
        while (due_ms := self.session.next_tick_ms()) is not None and due_ms <= end_ms and not self.ledger.closed:
            idle = 0 if due_ms > self.now_ms else idle + 1
            self.now_ms = max(self.now_ms, due_ms)
            came = self.tell(ev.Tick())
            idle = 0 if came else idle
            commands += came
            assert idle < IDLE_TICKS, "ticks without end that change nothing"
        self.now_ms = end_ms
        return commands

    # -- the client ---------------------------------------------------------------------------------------------------

    def sends(self, ms: int, *, used: bool = True) -> list[do.Command]:
        """Send audio in real time; the vad uses it unless *used* is false."""
        commands: list[do.Command] = []
        for _ in range(0, ms, CHUNK_MS):
            commands += self.wait(CHUNK_MS)
            commands += self.tell(ev.AudioReceived(b"\1\0" * (CHUNK_MS * BYTES_PER_MS // 2)))
            if used:
                commands += self.tell(ev.AudioConsumed(self.sent_samples))
        return commands

    def starts_speaking(self, turn_id: int) -> list[do.Command]:
        """Begin a turn after a little speech."""
        self.sends(96)
        return self.tell(ev.SpeechStarted(turn_id, max(0, self.sent_samples - 6400), self.sent_samples))

    def stops_speaking(self, turn_id: int) -> list[do.Command]:
        """End the turn after the silence that ends it."""
        self.sends(512)
        return self.tell(ev.SpeechStopped(turn_id, self.sent_samples - 8000, self.sent_samples))

    def says(self, turn_id: int, text: str) -> list[do.Command]:
        """Speak a turn from its start to its transcript; return what all of it led to."""
        commands = self.starts_speaking(turn_id)
        commands += self.sends(512)
        commands += self.stops_speaking(turn_id)
        return commands + self.tell(ev.Transcript(turn_id, text, 1000))

    # -- the services -------------------------------------------------------------------------------------------------

    def speech(self, response_id: str, ms: int, text: str = "") -> list[do.Command]:
        """Have the tts send audio."""
        return self.tell(ev.SpeechReceived(response_id, b"\2\0" * (ms * BYTES_PER_MS // 2), text))

    def answers(self, response_id: str, text: str, ms: int) -> list[do.Command]:
        """Have llm and tts send all of an answer at once."""
        commands = self.tell(ev.TextDelta(response_id, text), ev.GenerationDone(response_id, complete=True))
        commands += self.speech(response_id, ms, text)
        return commands + self.tell(ev.SynthesisDone(response_id))

    # -- what came of it ----------------------------------------------------------------------------------------------

    def remembered(self) -> list[str]:
        """Return the conversation as lines."""
        return [f"{message.author}: {message.text}" for message in self.session.conversation.messages]

    def played_ms(self) -> int:
        """Return how much audio the client was given."""
        return to_ms(sum(len(play.pcm) // 2 for play in of(do.Play, self.ledger.commands)))


def of(kind: type[C], commands: Sequence[object]) -> list[C]:
    """Return the commands of one *kind*."""
    return [command for command in commands if isinstance(command, kind)]


def one(kind: type[C], commands: Sequence[object]) -> C:
    """Return the only command of this *kind*."""
    (found,) = of(kind, commands)
    return found


def kinds(commands: Sequence[object]) -> list[type[object]]:
    """Return the kinds of *commands* in order, audio to the vad aside."""
    return [type(command) for command in commands if not isinstance(command, do.SendAudio)]
