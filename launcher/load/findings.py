"""What a load run finds: times, counts, errors by reason. No I/O.

Percentiles are by nearest rank: every number shown was measured, none lies between two that were.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

# Errors are kept in words so often, for the person who has to find out why.
MOST_EXAMPLES: Final = 8
# So many points draw a distribution.
POINTS: Final = 100


@dataclass(slots=True)
class Findings:
    """What one generator process has seen. Adds up.

    *times*: milliseconds (or what the name says) by name; *counts*: by name; *errors*: by reason; *broken*: promises of
    the protocol that were not kept, by promise; *examples*: some of both in words.
    """

    times: dict[str, list[float]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    cpu_s: float = 0.0

    def time(self, name: str, ms: float) -> None:
        """Note one measurement."""
        self.times.setdefault(name, []).append(ms)

    def error(self, reason: str, example: str = "") -> None:
        """Note that something failed, for *reason*."""
        self.errors[reason] += 1
        self._example(reason, example)

    def breaks(self, promise: str, example: str = "") -> None:
        """Note that the other side did not keep *promise*."""
        self.broken[promise] += 1
        self._example(promise, example)

    def add(self, other: "Findings") -> None:
        """Add what another process found."""
        for name, values in other.times.items():
            self.times.setdefault(name, []).extend(values)
        self.counts += other.counts
        self.errors += other.errors
        self.broken += other.broken
        self.examples = list(dict.fromkeys(self.examples + other.examples))[:MOST_EXAMPLES]
        self.cpu_s += other.cpu_s

    def _example(self, reason: str, example: str) -> None:
        told = f"{reason}: {example[:200]}"
        if example and len(self.examples) < MOST_EXAMPLES and told not in self.examples:
            self.examples.append(told)


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution: how many were measured, mean, percentiles, the largest, and *points* to draw it."""

    n: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    most: float
    points: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the distribution of *values*.

        Raises:
            ValueError: there are none.
        """
        if not values:
            raise ValueError("nothing was measured")
        ordered = sorted(values)
        points = tuple(round(percentile(ordered, place), 3) for place in range(POINTS + 1))
        return cls(
            len(ordered),
            math.fsum(ordered) / len(ordered),
            p50=percentile(ordered, 50),
            p90=percentile(ordered, 90),
            p95=percentile(ordered, 95),
            p99=percentile(ordered, 99),
            most=ordered[-1],
            points=points,
        )

    @classmethod
    def read(cls, told: dict[str, Any]) -> "Spread":
        """Return what `dataclasses.asdict` made of one."""
        return cls(**{**told, "points": tuple(told["points"])})


def percentile(ordered: Sequence[float], place: float) -> float:
    """Return the smallest of *ordered* (ascending, not empty) that *place* percent of them do not exceed."""
    return ordered[max(0, math.ceil(place / 100 * len(ordered)) - 1)]
