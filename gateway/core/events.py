"""What the conversation hears of: from the client, from the services, from the clock.

Positions named `at_sample` count samples at 16 kHz on the session's audio clock.
"""

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """The services a session needs."""

    VAD = "vad"
    ASR = "asr"
    LLM = "llm"
    TTS = "tts"


# -- from the client --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AudioReceived:
    """16 kHz mono s16le of any length, whole samples."""

    pcm: bytes


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much audio the client's connection has not taken yet; above zero nothing more is played to it."""

    ms: float


@dataclass(frozen=True, slots=True)
class ClientGone:
    """The connection is closed."""


# -- from the vad -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AudioConsumed:
    """Everything before this position has been used."""

    at_sample: int


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """A turn began."""

    turn_id: int
    at_sample: int
    decided_at_sample: int


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """The speaker of an open turn has fallen silent: the turn may be about to end."""

    turn_id: int


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """The speaker goes on with the turn."""

    turn_id: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The turn is over; its transcript is being made."""

    turn_id: int
    at_sample: int
    decided_at_sample: int


# -- from the asr -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartialTranscript:
    """What has been understood so far; replaces what came before."""

    turn_id: int
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """The final text of a turn; empty if nothing was understood."""

    turn_id: int
    text: str
    audio_ms: int


@dataclass(frozen=True, slots=True)
class TurnTaken:
    """A recogniser has the turn that waited for one: its time begins now."""

    turn_id: int


# -- from the llm and the tts -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer's text."""

    response_id: str
    text: str


@dataclass(frozen=True, slots=True)
class GenerationDone:
    """No more text comes; *complete* is false if it was cut off by a limit."""

    response_id: str
    complete: bool


@dataclass(frozen=True, slots=True)
class SpeechReceived:
    """The next piece of the answer's audio: s16le at the session's output rate. *text* is the clause that begins."""

    response_id: str
    pcm: bytes
    text: str


@dataclass(frozen=True, slots=True)
class SynthesisDone:
    """No more audio comes."""

    response_id: str


# -- what goes wrong --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """The asr could not transcribe the turn, or is gone.

    *retryable*: another might do it. *refused*: it was not even tried.
    """

    turn_id: int
    message: str
    retryable: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class ResponseFailed:
    """The llm or the tts could not do its part, or is gone.

    *retryable*: another might do it. *refused*: it was not even tried.
    """

    response_id: str
    role: Role
    message: str
    retryable: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class InputLost:
    """The vad of this session is gone, or has refused it; another one has to be opened."""

    message: str


@dataclass(frozen=True, slots=True)
class InputFound:
    """A vad is there again, or another one takes the session over."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = (
    AudioReceived
    | Backlog
    | ClientGone
    | AudioConsumed
    | SpeechStarted
    | SpeechPaused
    | SpeechResumed
    | SpeechStopped
    | PartialTranscript
    | Transcript
    | TextDelta
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
