"""What a speech recogniser must offer to be an engine here, and what it is asked: plain values, no protobuf.

One `Stream` is one turn of one session. The service calls `accept` as audio arrives, `partial` now and then, `finish`
once, and `cancel` always and last. What stands behind a stream is the engine's affair: one that decodes as it hears
does its work in `accept`; one that wants whole utterances keeps the audio there, and puts it into a batch with those of
other streams when `finish` or `partial` is awaited, finals first. All of it is called on the event loop and must not
block it.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """What is known of a turn before it is heard. Empty: the engine's own choice."""

    language: str = ""
    """BCP 47; one of the engine's languages, if it names any."""
    prompt: str = ""
    """Words or context to expect; an engine that cannot use them ignores them."""
    model: str = ""
    partials: bool = False
    """Whether `partial` will be asked."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """What was understood of a turn."""

    text: str
    language: str = ""
    confidence: float = 0.0
    """0..1; 0: unknown."""
    busy_s: float = 0.0
    """Seconds of computing that it took; 0: unknown."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the engine tells of itself once it is loaded."""

    model: str = ""
    languages: tuple[str, ...] = ()
    """BCP 47; empty: not said, anything may be asked."""
    streaming: bool = False
    """Whether it decodes while the person speaks."""


class Stream(Protocol):
    """The recognition of one turn."""

    async def accept(self, pcm: bytes) -> None:
        """Take the next audio: 16 kHz mono signed 16-bit little-endian, whole samples, cut anywhere.

        Raises:
            EngineError: the turn is lost; another attempt may work.
        """
        ...

    async def partial(self) -> str:
        """Return the text understood so far, possibly an older one. May be cancelled while it is awaited.

        Raises:
            EngineError: as `accept`.
        """
        ...

    async def finish(self) -> Recognised:
        """Return the text of all that was accepted. Silence has an empty text.

        Raises:
            EngineError: as `accept`.
        """
        ...

    def cancel(self) -> None:
        """Stop working for this turn and let go of what it holds. Idempotent; harmless after `finish`."""
        ...


class Engine(Protocol):
    """A speech recogniser."""

    async def load(self) -> Abilities:
        """Get ready; what is heavy is imported here.

        Raises:
            ConfigurationError: something is missing; one line names the remedy.
        """
        ...

    def stream(self, request: Request) -> Stream:
        """Begin a turn.

        Raises:
            AtCapacityError: no place is free, and the engine does not queue.
            InvalidRequestError: the request is impossible here.
        """
        ...

    async def stop(self) -> None:
        """Let go of everything; streams that are open fail. Idempotent."""
        ...
