"""What a Realtime conversation is made of. Ids are the client's or ours, 32 characters at most."""

from dataclasses import dataclass, field
from typing import Literal

from gateway.core.realtime.config import AudioFormat

ItemStatus = Literal["in_progress", "completed", "incomplete"]


@dataclass(slots=True)
class Part:
    """One piece of a message.

    *text* is the text or, of audio, its transcript (None: unknown, or removed by a truncation). *audio* is what was
    said or heard, in the format that the session had then (*format*; None: the session's present one); *audio_ms* is
    its length, also where it is not kept.
    """

    type: Literal["input_text", "input_audio", "input_image", "output_text", "output_audio"]
    text: str | None = None
    audio: bytes = b""
    audio_ms: float = 0.0
    format: AudioFormat | None = None
    image_url: str = ""
    detail: str = "auto"


@dataclass(slots=True)
class Item:
    """A message, a function call or its output. Mutable while it is being generated, transcribed or truncated."""

    id: str
    type: Literal["message", "function_call", "function_call_output"]
    role: Literal["system", "user", "assistant", ""] = ""
    status: ItemStatus = "completed"
    parts: list[Part] = field(default_factory=list)
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str = ""
