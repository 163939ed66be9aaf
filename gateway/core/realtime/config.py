"""The settings of a Realtime session, as the client may change them at any time.

Values that this server only stores and echoes are kept as they came (`Json`). Durations in ms, rates in Hz.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Json = Any
Modality = Literal["audio", "text"]


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How audio travels: signed 16-bit little-endian `pcm` at *rate*, or G.711 (`pcmu`, `pcma`) at 8000 Hz. Mono."""

    encoding: Literal["pcm", "pcmu", "pcma"] = "pcm"
    rate: int = 24_000

    @property
    def bytes_per_sample(self) -> int:
        """Size of one sample on the wire."""
        return 2 if self.encoding == "pcm" else 1

    @property
    def bytes_per_s(self) -> int:
        """Size of a second on the wire."""
        return self.rate * self.bytes_per_sample

    def ms(self, size: int) -> float:
        """Return how long *size* bytes sound."""
        return size * 1000 / (self.rate * self.bytes_per_sample)


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """When turns begin and end, and what follows. `None` in its place: the client commits its turns itself."""

    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    idle_timeout_ms: int | None = None
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


@dataclass(frozen=True, slots=True)
class Transcription:
    """Transcription events are wanted. *given* is what the client sent, echoed as it came."""

    model: str = ""
    language: str = ""
    prompt: str = ""
    given: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; *given* is the client's own object."""

    name: str
    description: str = ""
    parameters: dict[str, Json] = field(default_factory=dict)
    given: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Which tools the model may or must call; *name* with mode `function`."""

    mode: Literal["auto", "none", "required", "function"] = "auto"
    name: str = ""


@dataclass(frozen=True, slots=True)
class ResponseConfig:
    """The settings that a response is made with: a snapshot of the session's, with the overrides of its creation."""

    modality: Modality = "audio"
    instructions: str = ""
    voice: str = ""
    speed: float = 1.0
    output_format: AudioFormat = AudioFormat()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    max_output_tokens: int | None = None
    temperature: float | None = None
    metadata: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """All of a session's settings. *response* are those that responses use unless they bring their own."""

    type: Literal["realtime", "transcription"] = "realtime"
    model: str = ""
    response: ResponseConfig = ResponseConfig()
    input_format: AudioFormat = AudioFormat()
    transcription: Transcription | None = None
    turn_detection: TurnDetection | None = TurnDetection()
    noise_reduction: Json = None
    tracing: Json = None
    truncation: Json = "auto"
    prompt: Json = None
    include: Json = None
    extra: dict[str, Json] = field(default_factory=dict)
    """Keys that are echoed only when they were set: `parallel_tool_calls`, `reasoning`."""
