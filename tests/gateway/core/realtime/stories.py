"""Tells a Realtime session a story: time that passes with its ticks, a client, and services that answer."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar

from gateway.core.input import BYTES_PER_MS
from gateway.core.realtime import client_events as client
from gateway.core.realtime import commands as do
from gateway.core.realtime import events as ev
from gateway.core.realtime import notices as tell
from gateway.core.realtime.config import ResponseConfig, SessionConfig, Transcription, TurnDetection
from gateway.core.realtime.items import Item, Part
from gateway.core.realtime.session import RealtimeSession
from gateway.core.realtime.settings import RealtimeSettings
from tests.gateway.core.realtime.ledger import Ledger

C = TypeVar("C")

CHUNK_MS = 32
# A tick must change something: either a command comes, or the next one is due later.
IDLE_TICKS = 5
BUS = (
    do.OpenInput,
    do.CloseInput,
    do.UpdateInput,
    do.SendAudio,
    do.CommitAudio,
    do.ClearAudio,
    do.CancelTurn,
    do.RecogniseAgain,
    do.Respond,
    do.AskAgain,
    do.Grant,
    do.CancelResponse,
    do.EndResponse,
    do.CloseSession,
    do.Disconnect,
)
MANUAL = SessionConfig(turn_detection=None)
TRANSCRIBED = SessionConfig(transcription=Transcription("any"))


class Story:
    """One session on a clock of its own, every command of which is checked."""

    def __init__(self, config: SessionConfig | None = None, settings: RealtimeSettings | None = None) -> None:
        self.now_ms = 1000.0
        numbers = count(1)
        self.session = RealtimeSession(
            config or SessionConfig(),
            settings or RealtimeSettings(),
            lambda kind: f"{kind}_{next(numbers)}",
            self.now_ms,
        )
        self.ledger = Ledger()
        self.ledger.take(self.session.start())
        self.sent_samples = 0

    def tell(self, *events: ev.Event) -> list[do.Command]:
        """Give the session *events* now; return what they led to."""
        commands: list[do.Command] = []
        for event in events:
            if isinstance(event, ev.InputLost):
                self.ledger.input_open = False
            before = self.session.config.turn_detection
            came = self.session.receive(event, self.now_ms)
            if before is not None and self.session.config.turn_detection is None:
                self.ledger.stops_detecting()
            self.ledger.take(came)
            self.ledger.forget_all_but({entry.item.id for entry in self.session.conversation.entries})
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

    def appends(self, ms: int) -> list[do.Command]:
        """Append audio at once."""
        wire = self.session.config.input_format
        raw = b"\3" * (ms * wire.rate // 1000 * wire.bytes_per_sample)
        return self.tell(client.AppendAudio(b"\1\0" * (ms * BYTES_PER_MS // 2), raw))

    def sends(self, ms: int, *, used: bool = True) -> list[do.Command]:
        """Append audio in real time; the vad uses it unless *used* is false."""
        commands: list[do.Command] = []
        for _ in range(0, ms, CHUNK_MS):
            commands += self.wait(CHUNK_MS)
            commands += self.appends(CHUNK_MS)
            if used:
                commands += self.tell(ev.AudioConsumed(self.sent_samples))
        return commands

    def updates(self, **changes: Any) -> list[do.Command]:
        """Change fields of the session, and of its responses."""
        names = set(ResponseConfig.__dataclass_fields__)
        config = self.session.config
        response = replace(config.response, **{k: v for k, v in changes.items() if k in names})
        session = {k: v for k, v in changes.items() if k not in names}
        return self.tell(client.UpdateSession(replace(config, response=response, **session), "e-update"))

    def detects(self, **changes: Any) -> list[do.Command]:
        """Change turn detection."""
        before = self.session.config.turn_detection or TurnDetection()
        return self.updates(turn_detection=replace(before, **changes))

    def creates(self, item: Item, previous: str | None = None) -> list[do.Command]:
        """Create an item."""
        return self.tell(client.CreateItem(item, previous, "e-create"))

    def responds(self, **overrides: Any) -> list[do.Command]:
        """Ask for a response."""
        rest = {name: overrides.pop(name) for name in ("in_conversation", "input") if name in overrides}
        config = replace(self.session.config.response, **overrides)
        return self.tell(client.CreateResponse(config, event_id="e-respond", **rest))

    # -- the services -------------------------------------------------------------------------------------------------

    def starts_speaking(self, turn_id: int) -> list[do.Command]:
        """Begin a turn after a little speech."""
        self.sends(96)
        return self.tell(ev.SpeechStarted(turn_id, max(0, self.sent_samples - 6400), self.sent_samples))

    def stops_speaking(self, turn_id: int) -> list[do.Command]:
        """End the turn after the silence that ends it."""
        self.sends(512)
        return self.tell(ev.SpeechStopped(turn_id, self.sent_samples, self.sent_samples))

    def says(self, turn_id: int, text: str) -> list[do.Command]:
        """Speak a turn from its start to its transcript; return what all of it led to."""
        commands = self.starts_speaking(turn_id)
        commands += self.stops_speaking(turn_id)
        return commands + self.tell(ev.Transcript(turn_id, text, 1000))

    def commits(self, turn_id: int, text: str | None, ms: int = 320) -> list[do.Command]:
        """Speak and commit a turn without detection; with its transcript, unless *text* is None."""
        self.appends(ms)
        start = self.sent_samples - ms * 16
        self.tell(ev.SpeechStarted(turn_id, max(0, start), max(0, start)))
        commands = self.tell(client.CommitInput("e-commit"))
        end = one(do.CommitAudio, commands).at_sample
        commands += self.tell(ev.SpeechStopped(turn_id, end, end))
        return commands if text is None else commands + self.tell(ev.Transcript(turn_id, text, ms))

    def speech(self, response_id: str, ms: int, text: str = "") -> list[do.Command]:
        """Have the tts send audio, as 24 kHz PCM."""
        return self.tell(ev.SpeechReceived(response_id, b"\2\0" * (ms * 24), text))

    def answers(self, text: str, ms: int = 400, response_id: str | None = None) -> list[do.Command]:
        """Have llm and tts send all of an answer at once."""
        response_id = response_id or self.active
        commands = self.tell(ev.TextDelta(response_id, text), ev.GenerationDone(response_id, "stop", 40, 4))
        if ms:
            commands += self.speech(response_id, ms, text) + self.tell(ev.SynthesisDone(response_id))
        return commands

    # -- what came of it ----------------------------------------------------------------------------------------------

    @property
    def active(self) -> str:
        """The id of the conversation's response."""
        assert self.ledger.active is not None
        return self.ledger.active

    def context(self) -> list[str]:
        """Return what the model was last told, as lines."""
        return lines(of(do.Respond, self.ledger.commands)[-1])


def lines(request: do.Respond) -> list[str]:
    """Return the messages of *request* as lines."""
    found = []
    for message in request.messages:
        calls = "".join(f" [{call.call_id}: {call.name}({call.arguments})]" for call in message.tool_calls)
        found.append(f"{message.author}: {message.text}{calls}")
    return found


def user(text: str, item_id: str = "") -> Item:
    """Return a message of the user."""
    return Item(item_id, "message", "user", parts=[Part("input_text", text)])


def of(kind: type[C], commands: Sequence[object]) -> list[C]:
    """Return the commands of one *kind*."""
    return [command for command in commands if isinstance(command, kind)]


def one(kind: type[C], commands: Sequence[object]) -> C:
    """Return the only command of this *kind*."""
    (found,) = of(kind, commands)
    return found


def told(commands: Sequence[object]) -> list[str]:
    """Return the names of the notices among *commands*, in order; of pieces of the same kind in a row only one."""
    names = [type(command).__name__ for command in commands if not isinstance(command, BUS)]
    return [name for i, name in enumerate(names) if not (name.endswith("Delta") and names[i - 1 : i] == [name])]


def rejection(commands: Sequence[object]) -> tuple[str | None, str | None, str | None]:
    """Return code, param and event id of the one error among *commands*, and assert that nothing else happened."""
    error = one(tell.Rejected, commands)
    assert len(commands) == 1
    return error.code, error.param, error.event_id
