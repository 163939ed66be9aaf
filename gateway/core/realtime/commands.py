"""What a Realtime session wants done, in order: on the bus (commands) and at the client (notices).

Those that raw sessions know too are theirs (`gateway.core.commands`). Audio of answers goes out as `AudioDelta`.
"""

from dataclasses import dataclass

from gateway.core.commands import (
    CancelResponse,
    CancelTurn,
    CloseInput,
    CloseSession,
    Disconnect,
    EndResponse,
    Grant,
    OpenInput,
    RecogniseAgain,
    SendAudio,
)
from gateway.core.realtime.config import ResponseConfig
from gateway.core.realtime.context import ModelMessage
from gateway.core.realtime.events import Role
from gateway.core.realtime.notices import Notice

__all__ = [
    "AskAgain",
    "CancelResponse",
    "CancelTurn",
    "ClearAudio",
    "CloseInput",
    "CloseSession",
    "Command",
    "CommitAudio",
    "Disconnect",
    "EndResponse",
    "Grant",
    "OpenInput",
    "RecogniseAgain",
    "Respond",
    "SendAudio",
    "UpdateInput",
]


@dataclass(frozen=True, slots=True)
class UpdateInput:
    """Tell the vad the session's `endpointing` and `recognition` as they are now."""


@dataclass(frozen=True, slots=True)
class CommitAudio:
    """Tell the vad that the open turn ends at *at_sample*."""

    at_sample: int


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """Tell the vad to forget the open turn and everything before *at_sample*."""

    at_sample: int


@dataclass(frozen=True, slots=True)
class Respond:
    """Take a place in an llm, and in a tts if *wants_speech*, and have them answer *messages*.

    *turn_id* is the turn that is answered, 0 if no speech asked. Several may run at once: out-of-band responses beside
    that of the conversation.
    """

    response_id: str
    turn_id: int
    generation: int
    config: ResponseConfig
    messages: tuple[ModelMessage, ...]
    granted_ms: int
    wants_speech: bool


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


Command = (
    OpenInput
    | CloseInput
    | RecogniseAgain
    | AskAgain
    | UpdateInput
    | SendAudio
    | CommitAudio
    | ClearAudio
    | CancelTurn
    | Respond
    | Grant
    | CancelResponse
    | EndResponse
    | CloseSession
    | Disconnect
    | Notice
)
