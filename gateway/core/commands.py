"""What the conversation wants done, in order: on the bus (commands) and at the client (audio and notices)."""

from dataclasses import dataclass

from gateway.core.conversation import Message
from gateway.core.events import Role
from gateway.core.response import Status

# -- on the bus -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenInput:
    """Take a place in a vad; the audio that follows begins at *at_sample*.

    *in_turn*: somebody is speaking, and the turn *first_turn_id* goes on.
    """

    at_sample: int
    first_turn_id: int
    in_turn: bool = False


@dataclass(frozen=True, slots=True)
class CloseInput:
    """Give the place in the vad back: it does not do its work. Look for another one."""


@dataclass(frozen=True, slots=True)
class SendAudio:
    """Send 16 kHz s16le to the vad."""

    pcm: bytes
    at_sample: int


@dataclass(frozen=True, slots=True)
class CancelTurn:
    """Stop recognising a turn."""

    turn_id: int


@dataclass(frozen=True, slots=True)
class RecogniseAgain:
    """Have an asr recognise a whole turn, 16 kHz s16le: the one that was to do it did not.

    *elsewhere*, if not empty, says why the one that had it last is not to have it again.
    """

    turn_id: int
    at_sample: int
    pcm: bytes
    elsewhere: str = ""


@dataclass(frozen=True, slots=True)
class Respond:
    """Take places in a tts and an llm and have them answer *messages*."""

    response_id: str
    turn_id: int
    revision: int
    generation: int
    instructions: str
    messages: tuple[Message, ...]
    granted_ms: int


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Take the request back from the llm and the tts that have it, and make it again: *role* failed at it.

    *elsewhere*, if not empty, says why the one that had it is not to have it again.
    """

    request: Respond
    role: Role
    elsewhere: str = ""

    @property
    def response_id(self) -> str:
        """The response that is asked for again."""
        return self.request.response_id


@dataclass(frozen=True, slots=True)
class Grant:
    """Let the tts run ahead up to this position of the response."""

    response_id: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Stop the llm and the tts; frames older than *generation* are stale."""

    response_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class EndResponse:
    """The response is over at the services too: its places are free."""

    response_id: str


@dataclass(frozen=True, slots=True)
class CloseSession:
    """Give every place back and forget the session."""


# -- at the client ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Play:
    """Hand audio of the answer to the connection."""

    response_id: str
    pcm: bytes


@dataclass(frozen=True, slots=True)
class PlayEnded:
    """No more audio of this answer comes: it is complete, or was *stopped* and what is not yet written is dropped."""

    response_id: str
    stopped: bool


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection: the client does not read. The session is over."""

    reason: str


# -- notices: what clients that ask for events are told ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpeechStartedNotice:
    """The user began to speak."""

    turn_id: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStoppedNotice:
    """The user's turn is over."""

    turn_id: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class PartialTranscriptNotice:
    """What has been understood so far."""

    turn_id: int
    text: str


@dataclass(frozen=True, slots=True)
class TranscriptNotice:
    """What the user said in this turn; *reopened* if it continues what was said before."""

    turn_id: int
    text: str
    reopened: bool


@dataclass(frozen=True, slots=True)
class TurnFailedNotice:
    """The turn is lost; the user has to say it again."""

    turn_id: int
    message: str


@dataclass(frozen=True, slots=True)
class ResponseStartedNotice:
    """An answer is being made."""

    response_id: str
    turn_id: int


@dataclass(frozen=True, slots=True)
class TextNotice:
    """The next piece of the answer's text."""

    response_id: str
    text: str


@dataclass(frozen=True, slots=True)
class InterruptNotice:
    """The user spoke over the answer: drop what is still to be played."""

    response_id: str
    heard_ms: int


@dataclass(frozen=True, slots=True)
class ResponseDoneNotice:
    """The answer has ended; *text* is what was heard of it."""

    response_id: str
    status: Status
    text: str
    audio_ms: int
    message: str


@dataclass(frozen=True, slots=True)
class InputLostNotice:
    """Listening stopped for a while because a service was lost."""

    message: str


Notice = (
    SpeechStartedNotice
    | SpeechStoppedNotice
    | PartialTranscriptNotice
    | TranscriptNotice
    | TurnFailedNotice
    | ResponseStartedNotice
    | TextNotice
    | InterruptNotice
    | ResponseDoneNotice
    | InputLostNotice
)

Command = (
    OpenInput
    | CloseInput
    | SendAudio
    | CancelTurn
    | RecogniseAgain
    | Respond
    | AskAgain
    | Grant
    | CancelResponse
    | EndResponse
    | CloseSession
    | Play
    | PlayEnded
    | Disconnect
    | Notice
)
