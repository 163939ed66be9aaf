"""What a Realtime client asks for, after the codec has checked its shape.

`event_id` is the client's own; it is echoed in errors only.
"""

from dataclasses import dataclass, field

from gateway.core.realtime.config import ResponseConfig, SessionConfig
from gateway.core.realtime.items import Item


@dataclass(frozen=True, slots=True)
class UpdateSession:
    """Use *config* from now on (checked, merged)."""

    config: SessionConfig
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class AppendAudio:
    """Audio: *pcm* is 16 kHz s16le for the services, *raw* what the client sent, in the session's input format."""

    pcm: bytes
    raw: bytes
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class CommitInput:
    """The buffered audio is a turn."""

    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class ClearInput:
    """Forget the buffered audio."""

    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class CreateItem:
    """Add *item* after *previous_item_id*: None is the end, "root" the beginning."""

    item: Item
    previous_item_id: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class RetrieveItem:
    """Return an item with its audio."""

    item_id: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """The user has heard only so much of an answer."""

    item_id: str
    content_index: int
    audio_end_ms: int
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Forget an item."""

    item_id: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class ItemReference:
    """Names an item of the conversation in the input of a response."""

    item_id: str


@dataclass(frozen=True, slots=True)
class CreateResponse:
    """Answer. *in_conversation* is false for out-of-band responses; *input* None means the conversation."""

    config: ResponseConfig
    in_conversation: bool = True
    input: tuple[Item | ItemReference, ...] | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Stop a response; None: the active one of the conversation."""

    response_id: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class SessionExpired:
    """The session has lived as long as it may."""

    minutes: int = field(default=60)


ClientEvent = (
    UpdateSession
    | AppendAudio
    | CommitInput
    | ClearInput
    | CreateItem
    | RetrieveItem
    | TruncateItem
    | DeleteItem
    | CreateResponse
    | CancelResponse
    | SessionExpired
)
