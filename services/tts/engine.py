"""What a speech synthesiser must offer to be used here, and what it may be asked for."""

from collections.abc import Generator, Iterable
from typing import Final, Protocol

from bus.errors import InvalidRequestError

# Slower or faster than this nobody understands; the bounds are those of OpenAI's speech endpoint.
SLOWEST: Final = 0.25
FASTEST: Final = 4.0
# How many names an error message lists.
_NAMED: Final = 20


class Engine(Protocol):
    """Text to sound. All attributes hold from the end of `load` on."""

    sample_rate: int
    """Hz of what `synthesize` yields."""
    voices: list[str]
    """Names to choose from; empty: any name is tried."""
    languages: list[str]
    """BCP 47; empty: any is tried."""
    language: str
    """BCP 47: what is spoken where nothing else is asked for."""
    threads: int
    """How many calls of `synthesize` are worth running at a time; 0: as many as there are cores."""

    def load(self) -> None:
        """Make ready to speak. Called once, on a thread.

        Raises:
            ConfigurationError: something is missing; names the remedy.
        """
        ...

    def synthesize(self, text: str, voice: str, language: str, speed: float) -> Generator[bytes, None, None]:
        """Yield signed 16-bit little-endian mono pcm in whole samples, as it is made.

        Called and iterated on any thread, by several at a time. Closing the generator stops the engine. An empty
        *voice* or *language* is the engine's choice; *speed* 2 is twice as fast. Text that the engine cannot speak
        (another script, nothing) yields silence or nothing.

        Raises:
            InvalidRequestError: no such voice or language.
            EngineError: the engine failed.
        """
        ...


def chosen_voice(asked: str, voices: list[str], default: str = "") -> str:
    """Return the voice to speak with: *asked*, in the engine's own spelling, or the *default*.

    Raises:
        InvalidRequestError: *asked* is none of *voices*.
    """
    if not asked:
        return default
    if not voices:
        return asked
    for voice in voices:
        if voice.lower() == asked.lower():
            return voice
    raise InvalidRequestError(f"unknown voice {asked!r}; known: {_listed(voices)}")


def chosen_language(asked: str, languages: list[str], default: str = "") -> str:
    """Return the language to speak: *asked* or the nearest of *languages* (de for de-AT, en-US for en).

    Raises:
        InvalidRequestError: none of *languages* is near *asked*.
    """
    if not asked:
        return default
    if not languages:
        return asked
    wanted = asked.replace("_", "-").lower()
    if default and default.lower().startswith(wanted + "-"):
        return default
    by_name = {language.lower(): language for language in languages}
    parts = wanted.split("-")
    for length in range(len(parts), 0, -1):  # as RFC 4647 looks up: the longest first
        if language := by_name.get("-".join(parts[:length])):
            return language
    for name, language in by_name.items():
        if name.split("-")[0] == parts[0]:
            return language
    raise InvalidRequestError(f"unknown language {asked!r}; known: {_listed(languages)}")


def chosen_speed(asked: float) -> float:
    """Return the speed to speak at; 0 stands for 1.

    Raises:
        InvalidRequestError: nobody can speak so slowly or so fast.
    """
    speed = asked or 1.0
    if not SLOWEST <= speed <= FASTEST:  # false for NaN, too
        raise InvalidRequestError(f"speed {asked:g} is not between {SLOWEST:g} and {FASTEST:g}")
    return speed


def _listed(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return ", ".join(known[:_NAMED]) + more
