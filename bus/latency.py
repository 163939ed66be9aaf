"""Latencies of scripted engines: a constant, or a distribution to draw from, written as one word of text.

text                 seconds drawn
`0.2`                always 0.2
`uniform:0.1,0.3`    anything from 0.1 to 0.3, equally likely
`lognormal:0.2,0.5`  median 0.2; the logarithm's standard deviation is 0.5. Most real latencies look like this.
`file:PATH`          what was measured: one of the numbers in the file, equally likely. One a line; `#`: a comment.
"""

import math
import random
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator

# Bounds that catch milliseconds given as seconds, and spreads whose draws would be astronomical.
MOST_SECONDS: Final = 3600.0
MOST_SIGMA: Final = 3.0
FORMS: Final = "SECONDS, uniform:LOWEST,HIGHEST, lognormal:MEDIAN,SIGMA or file:PATH"


class Shape(Enum):
    """How the draws are distributed."""

    CONSTANT = "constant"
    UNIFORM = "uniform"
    LOGNORMAL = "lognormal"
    MEASURED = "file"


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of seconds. *first* and *second*: see the forms above; a constant has no second.

    *measured*: the numbers of a file.
    """

    shape: Shape
    first: float = 0.0
    second: float = 0.0
    measured: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the latency that *text* describes.

        Raises:
            ValueError: it describes none; the message names the forms or the bound.
        """
        name, colon, rest = text.strip().partition(":")
        if colon and name.strip() == Shape.MEASURED.value:
            return cls(Shape.MEASURED, measured=_numbers_in(Path(rest.strip())))
        try:
            shape = Shape(name.strip()) if colon else Shape.CONSTANT
            numbers = [float(part) for part in (rest if colon else name).split(",")]
        except ValueError:
            raise ValueError(f"not a latency: {text!r}; write {FORMS}") from None
        if len(numbers) != (1 if shape is Shape.CONSTANT else 2):
            raise ValueError(f"wrong number of values in {text!r}; write {FORMS}")
        latency = cls(shape, numbers[0], sum(numbers[1:]))  # a constant has no second
        _check(latency)
        return latency

    def draw(self, rng: random.Random) -> float:
        """Return one latency in seconds."""
        match self.shape:
            case Shape.CONSTANT:
                return self.first
            case Shape.UNIFORM:
                return rng.uniform(self.first, self.second)
            case Shape.LOGNORMAL:
                return self.first * math.exp(rng.gauss(0.0, self.second))
            case Shape.MEASURED:
                return rng.choice(self.measured)


def _numbers_in(path: Path) -> tuple[float, ...]:
    """Return the seconds in the file at *path*.

    Raises:
        ValueError: it cannot be read, or holds anything else, or nothing.
    """
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or 'no text file'}") from None
    try:
        numbers = tuple(float(line) for line in lines if line)
    except ValueError as error:
        raise ValueError(f"{path}: one number of seconds a line, please ({error})") from None
    if not numbers:
        raise ValueError(f"{path}: no numbers in it")
    for number in numbers:
        _check(Latency(Shape.CONSTANT, number))
    return numbers


def _check(latency: Latency) -> None:
    lognormal = latency.shape is Shape.LOGNORMAL
    if not 0.0 <= latency.first <= MOST_SECONDS:  # false for NaN, too
        raise ValueError(f"a latency lies between 0 and {MOST_SECONDS:g} seconds, not {latency.first:g}")
    if not 0.0 <= latency.second <= (MOST_SIGMA if lognormal else MOST_SECONDS):
        bound = f"sigma lies between 0 and {MOST_SIGMA:g}" if lognormal else f"at most {MOST_SECONDS:g} seconds"
        raise ValueError(f"{bound}, not {latency.second:g}")
    if latency.shape is Shape.UNIFORM and latency.second < latency.first:
        raise ValueError(f"the highest latency {latency.second:g} is below the lowest {latency.first:g}")


def _parses(text: str) -> str:
    Latency.parse(text)
    return text


LatencyText = Annotated[str, AfterValidator(_parses)]
"""Type of a settings field that holds a latency as text: checked when the process starts, parsed by its engine."""
