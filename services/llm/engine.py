"""What a language model must offer to be an engine here, and what it is asked: plain values, no protobuf.

A request goes in; pieces come out, in order: any number of `Text` and `Call`, then one `Done`, after which the
service reads nothing more. An engine never sends more than the request's `max_output_tokens`, counted its own way.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol


class Author(Enum):
    """Who wrote a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Mode(Enum):
    """Whether the model may, must or must not call a tool."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


class Reason(Enum):
    """Why a generation ended."""

    STOP = "stop"
    MAX_OUTPUT_TOKENS = "max_output_tokens"
    CONTENT_FILTER = "content_filter"
    TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class Image:
    """An image in a message, by http(s) or data URL."""

    url: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call, or a piece of one: the arguments of pieces with one `call_id` are joined until `complete`."""

    call_id: str
    name: str
    arguments: str
    index: int = 0
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the conversation. `calls` are an assistant's; `call_id` names the call a tool answers."""

    author: Author
    parts: tuple[str | Image, ...] = ()
    calls: tuple[Call, ...] = ()
    call_id: str = ""

    @property
    def text(self) -> str:
        """The message's words, without its images."""
        return " ".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; *parameters* is the JSON Schema of its arguments object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One answer asked for. Messages come oldest first. None and empty: the engine's own choice."""

    instructions: str = ""
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: Mode = Mode.AUTO
    tool_name: str = ""  # with Mode.NAMED
    temperature: float | None = None
    max_output_tokens: int | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """The next words of the answer, with the spaces that belong between them and what came before."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counts them; `cached_tokens` are those of the input that needed no work."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a generation."""

    reason: Reason
    usage: Usage = field(default_factory=Usage)


Piece = Text | Call | Done


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an engine says of itself once it is loaded. Languages are BCP 47; none: not said."""

    model: str = ""
    languages: tuple[str, ...] = ()
    tools: bool = False
    images: bool = False


class Engine(Protocol):
    """A language model, or what stands in for one."""

    async def load(self) -> Abilities:
        """Make the engine ready.

        Raises:
            ConfigurationError: it cannot run here; one line names the remedy.
        """
        ...

    def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        """Stream the answer to *request*. Closed by the service on cancel; then lets go of everything at once.

        Raises:
            InvalidRequestError: the request is impossible here.
            EngineError: the answer could not be made or finished.
        """
        ...

    async def stop(self) -> None:
        """Let go of what `load` took."""
        ...
