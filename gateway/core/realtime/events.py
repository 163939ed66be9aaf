"""What a Realtime session hears of: from the client (`client_events`), from the services, from the clock.

Those that raw sessions know too are theirs (`gateway.core.events`). Positions named `at_sample` count samples at 16 kHz
on the session's audio clock. The text of a `PartialTranscript` is the stable part alone: clients can only append.
"""

from dataclasses import dataclass
from typing import Literal

from gateway.core.events import (
    AudioConsumed,
    Backlog,
    ClientGone,
    InputFound,
    InputLost,
    PartialTranscript,
    ResponseFailed,
    Role,
    SpeechPaused,
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
from gateway.core.realtime.client_events import ClientEvent

__all__ = [
    "AudioConsumed",
    "Backlog",
    "ClientGone",
    "Event",
    "GenerationDone",
    "InputFound",
    "InputLost",
    "PartialTranscript",
    "ResponseFailed",
    "Role",
    "ServiceEvent",
    "SpeechPaused",
    "SpeechReceived",
    "SpeechResumed",
    "SpeechStarted",
    "SpeechStopped",
    "SynthesisDone",
    "TextDelta",
    "Tick",
    "ToolCallDelta",
    "Transcript",
    "TurnFailed",
    "TurnTaken",
]


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a call: the *arguments* of those with the same *call_id* (the model's own) are joined."""

    response_id: str
    call_id: str
    name: str
    arguments: str
    index: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True)
class GenerationDone:
    """No more text or calls come."""

    response_id: str
    reason: Literal["stop", "tool_calls", "max_output_tokens", "content_filter"] = "stop"
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class SpeechReceived:
    """The next piece of the answer's audio, in the response's output format. *text* is the clause that begins."""

    response_id: str
    audio: bytes
    text: str


ServiceEvent = (
    Backlog
    | ClientGone
    | AudioConsumed
    | SpeechStarted
    | SpeechPaused
    | SpeechResumed
    | SpeechStopped
    | PartialTranscript
    | Transcript
    | TextDelta
    | ToolCallDelta
    | GenerationDone
    | SpeechReceived
    | SynthesisDone
    | TurnTaken
    | TurnFailed
    | ResponseFailed
    | InputLost
    | InputFound
    | Tick
)

Event = ClientEvent | ServiceEvent
