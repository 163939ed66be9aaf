"""What a model is told: plain messages, without ids or wire forms."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Text:
    """Words, written or understood."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture as a data URL; *detail* is auto, low or high."""

    url: str
    detail: str = "auto"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model called; *arguments* are JSON."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ModelMessage:
    """One message: of the assistant with its *tool_calls*, of a tool with the *call_id* that it answers."""

    author: Literal["system", "user", "assistant", "tool"]
    parts: tuple[Text | Image, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    call_id: str = ""

    @property
    def text(self) -> str:
        """All words of the message."""
        return " ".join(part.text for part in self.parts if isinstance(part, Text))
