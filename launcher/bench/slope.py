"""Whether memory grows: a straight line through what a process held, second by second. No I/O."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

MB: Final = 1024 * 1024
# What a first conversation of every kind, the allocator's arenas and Python's own caches take is no leak: this share of
# the time is not looked at.
WARM_UP: Final = 1 / 3
# Growth within this is noise: so many standard deviations of the samples around the line, but at least so much.
DEVIATIONS: Final = 3.0
LEAST_MB: Final = 2.0
# With fewer samples a line says nothing.
FEWEST: Final = 30


@dataclass(frozen=True, slots=True)
class Slope:
    """A line through the memory of one process. *grown_mb* is what it rises by in *seconds*."""

    seconds: float
    mean_mb: float
    mb_per_minute: float
    grown_mb: float
    allowed_mb: float

    @classmethod
    def through(cls, samples: list[tuple[float, float]]) -> Self | None:
        """Return the line through *samples* (seconds, bytes) after the warm-up; None if they are too few."""
        if len(samples) < 2:  # noqa: PLR2004 - a line
            return None
        begin_s, end_s = samples[0][0], samples[-1][0]
        kept = [(at_s, held / MB) for at_s, held in samples if at_s >= begin_s + WARM_UP * (end_s - begin_s)]
        if len(kept) < FEWEST:
            return None
        at_s, held_mb = np.array(kept).T
        per_s, level = np.polyfit(at_s - at_s[0], held_mb, 1)
        around = held_mb - (level + per_s * (at_s - at_s[0]))
        seconds = float(at_s[-1] - at_s[0])
        return cls(
            seconds,
            float(held_mb.mean()),
            float(per_s * 60),
            float(per_s * seconds),
            max(LEAST_MB, DEVIATIONS * float(around.std())),
        )

    @property
    def is_noise(self) -> bool:
        """Whether the growth is within what memory does by itself."""
        return self.grown_mb <= self.allowed_mb
