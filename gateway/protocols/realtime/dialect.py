"""What differs between the two dialects and is not the place of a setting (see `fields`): names of events and parts.

GA is what the API is now; beta is what it was until 2026 and what many clients still speak. A connection has one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from gateway.core.realtime import notices as tell
from gateway.core.realtime.config import AudioFormat

REALTIME_PROTOCOL: Final = "realtime"
KEY_PROTOCOL: Final = "openai-insecure-api-key."
BETA_PROTOCOL: Final = "openai-beta.realtime-v1"
BETA_HEADER: Final = "realtime=v1"

CLIENT_EVENTS: Final = (
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "conversation.item.create",
    "conversation.item.retrieve",
    "conversation.item.truncate",
    "conversation.item.delete",
    "response.create",
    "response.cancel",
    "output_audio_buffer.clear",
)

_BUFFER = "input_audio_buffer"
_ITEM = "conversation.item"
_TRANSCRIPTION = "conversation.item.input_audio_transcription"
_GA_EVENTS: Final[dict[type[Any], str]] = {
    tell.Rejected: "error",
    tell.SpeechStarted: f"{_BUFFER}.speech_started",
    tell.SpeechStopped: f"{_BUFFER}.speech_stopped",
    tell.Committed: f"{_BUFFER}.committed",
    tell.Cleared: f"{_BUFFER}.cleared",
    tell.TimeoutTriggered: f"{_BUFFER}.timeout_triggered",
    tell.ItemAdded: f"{_ITEM}.added",
    tell.ItemDone: f"{_ITEM}.done",
    tell.ItemRetrieved: f"{_ITEM}.retrieved",
    tell.ItemTruncated: f"{_ITEM}.truncated",
    tell.ItemDeleted: f"{_ITEM}.deleted",
    tell.TranscriptionDelta: f"{_TRANSCRIPTION}.delta",
    tell.TranscriptionCompleted: f"{_TRANSCRIPTION}.completed",
    tell.TranscriptionFailed: f"{_TRANSCRIPTION}.failed",
    tell.ResponseCreated: "response.created",
    tell.ResponseDone: "response.done",
    tell.OutputItemAdded: "response.output_item.added",
    tell.OutputItemDone: "response.output_item.done",
    tell.PartAdded: "response.content_part.added",
    tell.PartDone: "response.content_part.done",
    tell.AudioDelta: "response.output_audio.delta",
    tell.AudioDone: "response.output_audio.done",
    tell.ArgumentsDelta: "response.function_call_arguments.delta",
    tell.ArgumentsDone: "response.function_call_arguments.done",
}
# Events that beta has under another name, or not at all.
_BETA_EVENTS: Final[dict[type[Any], str]] = {
    tell.TimeoutTriggered: "",
    tell.ItemAdded: f"{_ITEM}.created",
    tell.ItemDone: "",
    tell.AudioDelta: "response.audio.delta",
    tell.AudioDone: "response.audio.done",
}


@dataclass(frozen=True, eq=False)
class Dialect:
    """One dialect. An event's name is empty where the dialect does not have it."""

    name: Literal["ga", "beta"]
    event_names: Mapping[type[Any], str]
    text_events: Mapping[str, str]
    """By modality, what comes before `.delta` and `.done`."""
    session_events: Mapping[str, str]
    """By the session's type, what comes before `.created` and `.updated`."""
    client_events: tuple[str, ...]
    output_parts: Mapping[str, str]
    """Types of the assistant's parts inside items."""
    modalities: Mapping[str, list[str]]
    formats: Mapping[str, str]
    """Names of the encodings."""
    formats_are_objects: bool
    types_are_required: bool
    """Whether an update must name the type of the session, and of turn detection."""
    max_tool_description: int
    opens_with_conversation: bool
    """Whether `conversation.created` follows `session.created`."""
    session_minutes: int
    """The life of a session upstream."""
    extra_session: Mapping[str, Any] = field(default_factory=dict)
    """Keys of a session that are always the same."""

    def audio_format(self, form: AudioFormat) -> Any:
        """Return *form* as it stands on the wire."""
        name = self.formats[form.encoding]
        if not self.formats_are_objects:
            return name
        return {"type": name, "rate": form.rate} if form.encoding == "pcm" else {"type": name}


GA: Final = Dialect(
    name="ga",
    event_names=_GA_EVENTS,
    text_events={"audio": "response.output_audio_transcript", "text": "response.output_text"},
    session_events={"realtime": "session", "transcription": "session"},
    client_events=CLIENT_EVENTS,
    output_parts={"output_audio": "output_audio", "output_text": "output_text"},
    modalities={"audio": ["audio"], "text": ["text"]},
    formats={"pcm": "audio/pcm", "pcmu": "audio/pcmu", "pcma": "audio/pcma"},
    formats_are_objects=True,
    types_are_required=True,
    max_tool_description=16_384,
    opens_with_conversation=False,
    session_minutes=60,
)
BETA: Final = Dialect(
    name="beta",
    event_names=_GA_EVENTS | _BETA_EVENTS,
    text_events={"audio": "response.audio_transcript", "text": "response.text"},
    session_events={"realtime": "session", "transcription": "transcription_session"},
    client_events=(*CLIENT_EVENTS, "transcription_session.update"),
    output_parts={"output_audio": "audio", "output_text": "text"},
    modalities={"audio": ["audio", "text"], "text": ["text"]},
    formats={"pcm": "pcm16", "pcmu": "g711_ulaw", "pcma": "g711_alaw"},
    formats_are_objects=False,
    types_are_required=False,
    max_tool_description=1024,
    opens_with_conversation=True,
    session_minutes=30,
    extra_session={"client_secret": None},
)


def choose(headers: Mapping[str, str], subprotocols: Sequence[str]) -> Dialect:
    """Return the dialect that a client asks for; *headers* have lower-case names."""
    if BETA_HEADER in headers.get("openai-beta", "") or BETA_PROTOCOL in subprotocols:
        return BETA
    return GA


def api_key(headers: Mapping[str, str], subprotocols: Sequence[str]) -> str:
    """Return the key that a client shows, "" if none."""
    scheme, _, key = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    offered = (name.removeprefix(KEY_PROTOCOL) for name in subprotocols if name.startswith(KEY_PROTOCOL))
    return headers.get("api-key", "").strip() or next(offered, "")


def subprotocol(offered: Sequence[str]) -> str | None:
    """Return the subprotocol to select: browsers insist on `realtime` if they offer any."""
    return REALTIME_PROTOCOL if REALTIME_PROTOCOL in offered else None
