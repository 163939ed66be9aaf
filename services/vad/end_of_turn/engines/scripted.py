"""Known answers after known times: for tests, and for a suite that simulates itself."""

import random
import time
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Protocol

from bus.errors import ConfigurationError
from bus.latency import Latency
from services.vad.engine import Floats


class Settings(Protocol):
    """What this engine is told; see `services.vad.settings`."""

    end_of_turn_script: str
    end_of_turn_latency: str


class Engine:
    """Says what the script says, one probability for each question of the process, the last one for ever after."""

    name = "scripted"
    model = ""

    def __init__(self, settings: Settings) -> None:
        try:
            script = [float(each) for each in settings.end_of_turn_script.split(",")]
        except ValueError as error:
            raise ConfigurationError(f"--end_of_turn_script: {error}; write 0.9 or 0.1,0.9 or nan (fails)") from error
        self._answers = chain(script, repeat(script[-1]))
        self._latency = Latency.parse(settings.end_of_turn_latency)
        self._rng = random.Random(0)

    def load(self) -> None:
        """Nothing to load."""

    def judge(self, turns: Sequence[Floats]) -> list[float]:
        """Return the next of the script for each of *turns*."""
        time.sleep(self._latency.draw(self._rng))
        return [next(self._answers) for _ in turns]
