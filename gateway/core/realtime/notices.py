"""What a Realtime client is told, before the codec gives it the dialect's names. One notice is one server event.

The order of notices is the order on the wire. Items are handed over as they are at that moment: the codec encodes them
at once. `previous_item_id` is None only for the head of the conversation.
"""

from dataclasses import dataclass, field
from typing import Literal

from gateway.core.realtime.config import ResponseConfig, SessionConfig
from gateway.core.realtime.items import Item
from gateway.core.response import Status


@dataclass(frozen=True, slots=True)
class SessionUpdated:
    """`session.updated` with the whole effective session."""

    config: SessionConfig


@dataclass(frozen=True, slots=True)
class Rejected:
    """`error`: the client's event had no effect, or (event_id None, type `server_error`) something of ours broke."""

    code: str | None
    message: str
    param: str | None = None
    event_id: str | None = None
    type: Literal["invalid_request_error", "server_error"] = "invalid_request_error"


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """`input_audio_buffer.speech_started`."""

    item_id: str
    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """`input_audio_buffer.speech_stopped`."""

    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class Committed:
    """`input_audio_buffer.committed`."""

    item_id: str
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class Cleared:
    """`input_audio_buffer.cleared`."""


@dataclass(frozen=True, slots=True)
class TimeoutTriggered:
    """`input_audio_buffer.timeout_triggered`."""

    item_id: str
    audio_start_ms: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """`conversation.item.added`; beta `conversation.item.created`."""

    item: Item
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ItemDone:
    """`conversation.item.done`; not in beta."""

    item: Item
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ItemRetrieved:
    """`conversation.item.retrieved`, with audio."""

    item: Item


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    """`conversation.item.truncated`."""

    item_id: str
    content_index: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class ItemDeleted:
    """`conversation.item.deleted`."""

    item_id: str


@dataclass(frozen=True, slots=True)
class TranscriptionDelta:
    """`conversation.item.input_audio_transcription.delta`."""

    item_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class TranscriptionCompleted:
    """`conversation.item.input_audio_transcription.completed`."""

    item_id: str
    transcript: str
    seconds: float


@dataclass(frozen=True, slots=True)
class TranscriptionFailed:
    """`conversation.item.input_audio_transcription.failed`."""

    item_id: str
    message: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a response. Audio counts 1 token per 100 ms of the user's, per 50 ms of the assistant's."""

    input_text: int = 0
    input_audio: int = 0
    input_image: int = 0
    cached: int = 0
    output_text: int = 0
    output_audio: int = 0


@dataclass(frozen=True, slots=True)
class ResponseView:
    """A response as clients see it, at its beginning (usage None) or its end."""

    id: str
    status: Status
    config: ResponseConfig
    conversation_id: str | None
    output: tuple[Item, ...] = ()
    usage: Usage | None = None
    reason: str = ""
    """Of cancelled (`turn_detected`, `client_cancelled`) and incomplete (`max_output_tokens`, `content_filter`)."""
    error_code: str = ""
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class ResponseCreated:
    """`response.created`."""

    response: ResponseView


@dataclass(frozen=True, slots=True)
class ResponseDone:
    """`response.done`, and `rate_limits.updated` if the codec sends it."""

    response: ResponseView


@dataclass(frozen=True, slots=True)
class OutputItemAdded:
    """`response.output_item.added`."""

    response_id: str
    output_index: int
    item: Item


@dataclass(frozen=True, slots=True)
class OutputItemDone:
    """`response.output_item.done`."""

    response_id: str
    output_index: int
    item: Item


@dataclass(frozen=True, slots=True)
class PartAdded:
    """`response.content_part.added`."""

    response_id: str
    item_id: str
    output_index: int
    modality: Literal["audio", "text"]


@dataclass(frozen=True, slots=True)
class PartDone:
    """`response.content_part.done`."""

    response_id: str
    item_id: str
    output_index: int
    modality: Literal["audio", "text"]
    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """`response.output_text.delta`, or of audio `response.output_audio_transcript.delta`."""

    response_id: str
    item_id: str
    output_index: int
    modality: Literal["audio", "text"]
    delta: str


@dataclass(frozen=True, slots=True)
class TextDone:
    """`response.output_text.done`, or of audio `response.output_audio_transcript.done`."""

    response_id: str
    item_id: str
    output_index: int
    modality: Literal["audio", "text"]
    text: str


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """`response.output_audio.delta`: *audio* is already in the response's output format."""

    response_id: str
    item_id: str
    output_index: int
    audio: bytes


@dataclass(frozen=True, slots=True)
class AudioDone:
    """`response.output_audio.done`."""

    response_id: str
    item_id: str
    output_index: int


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """`response.function_call_arguments.delta`."""

    response_id: str
    item_id: str
    output_index: int
    call_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class ArgumentsDone:
    """`response.function_call_arguments.done`."""

    response_id: str
    item_id: str
    output_index: int
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class SessionOver:
    """An `error`, then the connection is closed with *code*."""

    error: Rejected
    code: int
    reason: str = field(default="")


Notice = (
    SessionUpdated
    | Rejected
    | SpeechStarted
    | SpeechStopped
    | Committed
    | Cleared
    | TimeoutTriggered
    | ItemAdded
    | ItemDone
    | ItemRetrieved
    | ItemTruncated
    | ItemDeleted
    | TranscriptionDelta
    | TranscriptionCompleted
    | TranscriptionFailed
    | ResponseCreated
    | ResponseDone
    | OutputItemAdded
    | OutputItemDone
    | PartAdded
    | PartDone
    | TextDelta
    | TextDone
    | AudioDelta
    | AudioDone
    | ArgumentsDelta
    | ArgumentsDone
    | SessionOver
)
