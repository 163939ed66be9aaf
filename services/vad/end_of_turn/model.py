"""What a model must offer to be asked whether a turn is over."""

from collections.abc import Sequence
from typing import Final, Protocol

from services.vad.engine import Floats

SAMPLE_RATE: Final = 16_000
# What is kept of a turn for the model: the last 8 s, what smart-turn hears.
LONGEST: Final = 8 * SAMPLE_RATE


class Model(Protocol):
    """Hears whether a speaker who has paused is finished. Called on one thread, one call at a time."""

    name: str
    model: str

    def load(self) -> None:
        """Make the model ready.

        Raises:
            ConfigurationError: something is missing; the message names the remedy.
        """
        ...

    def judge(self, turns: Sequence[Floats]) -> list[float]:
        """Return for each of *turns* the probability, 0..1, that it is complete.

        A turn is at most `LONGEST` samples, -1..1, float32 at 16 kHz: its end, up to the pause that has begun. What one
        gets does not depend on the others.

        Raises:
            EngineError: the model failed.
        """
        ...
