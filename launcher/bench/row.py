"""What a row of `make bench` is: what is promised, what was measured, and whether that is enough. No I/O."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from bus.errors import ConfigurationError
from launcher.errors import LauncherError

# Values from here on are shown without decimals, and with one.
WHOLE_FROM: Final = 100
TENTHS_FROM: Final = 10
# Characters of an error that are told.
MOST_WORDS: Final = 300


class Met(StrEnum):
    """Whether what was measured is enough."""

    AIM = "aim"
    AT_LEAST = "at least"
    MISSED = "MISSED"
    UNKNOWN = "not measured"
    ELSEWHERE = "elsewhere"
    NONE = "-"


@dataclass(frozen=True, slots=True)
class Target:
    """Something to measure in *unit*; *at_least* must be reached, *aim* should. *more*: more of it is better."""

    what: str
    unit: str = ""
    at_least: float | None = None
    aim: float | None = None
    more: bool = False

    def reached(self, value: float, bound: float) -> bool:
        """Return whether *value* is as good as *bound*."""
        return value >= bound if self.more else value <= bound

    def bound(self, value: float | None) -> str:
        """Return a bound in words."""
        return f"{'≥' if self.more else '≤'} {number(value, self.unit)}" if value is not None else "-"


@dataclass(frozen=True, slots=True)
class Line:
    """What came of a target. *value* None: nothing, and *remark* says why.

    *limit*: what is left of it without the suite, by the same libraries and the same model alone, in the target's unit
    and measured in the same run; *limit_is* says of what. *elsewhere*: another command measures it.
    """

    target: Target
    value: float | None = None
    remark: str = ""
    limit: float | None = None
    limit_is: str = ""
    elsewhere: bool = False

    @property
    def met(self) -> Met:
        """Whether it is enough."""
        target = self.target
        if self.value is None:
            return Met.ELSEWHERE if self.elsewhere else Met.UNKNOWN
        if target.at_least is not None and not target.reached(self.value, target.at_least):
            return Met.MISSED
        if target.aim is not None and target.reached(self.value, target.aim):
            return Met.AIM
        return Met.NONE if target.at_least is None else Met.AT_LEAST

    @property
    def fails(self) -> bool:
        """Whether a promise is not kept, or nobody knows: what has an "at least" has to be measured."""
        return self.target.at_least is not None and self.met in (Met.MISSED, Met.UNKNOWN)

    @property
    def measured(self) -> str:
        """What was measured, in words."""
        told = number(self.value, self.target.unit) if self.value is not None else ""
        return "; ".join(part for part in (told, self.remark) if part)

    @property
    def ratio(self) -> str:
        """How many times the limit it is, in words."""
        if self.value is None or not self.limit:
            return "-"
        return f"{self.value / self.limit:.2f} x {self.limit_is}"

    def told(self) -> dict[str, Any]:
        """Return it for JSON."""
        target = self.target
        return {
            "what": target.what,
            "unit": target.unit,
            "at_least": target.at_least,
            "aim": target.aim,
            "more_is_better": target.more,
            "value": self.value,
            "remark": self.remark,
            "met": str(self.met),
            "limit": self.limit,
            "limit_is": self.limit_is,
        }


@dataclass(frozen=True, slots=True)
class Note:
    """Lines beneath the table: what explains a figure."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """How long to measure. *quick*: only whether everything works; *full*: more sessions than are likely to fit."""

    quick: bool = False
    full: bool = False

    def of(self, usual: float, quick: float) -> float:
        """Return *usual*, or *quick* if there is no time."""
        return quick if self.quick else usual


@dataclass(frozen=True, slots=True)
class Row:
    """Targets that are measured together. *measure* yields a line for each that it could measure, and notes."""

    name: str
    targets: tuple[Target, ...]
    measure: Callable[[Scale], Iterator[Line | Note]]

    def lines(self, scale: Scale) -> list[Line | Note]:
        """Measure. What fails is told of every target that has no line then; nothing is raised."""
        found: list[Line | Note] = []
        why = "nothing was measured"
        try:
            for line in self.measure(scale):
                found.append(line)  # noqa: PERF402 - what came before an error counts
        except Exception as error:  # noqa: BLE001 - the other rows go on, and the table tells
            expected = isinstance(error, (ConfigurationError, LauncherError))
            why = " ".join(f"{'' if expected else f'{type(error).__name__}: '}{error}".split())[:MOST_WORDS]
        told = {line.target for line in found if isinstance(line, Line)}
        return found + [Line(target, remark=why) for target in self.targets if target not in told]


def number(value: float, unit: str) -> str:
    """Return *value* with as many places as tell something."""
    places = 0 if abs(value) >= WHOLE_FROM else 1 if abs(value) >= TENTHS_FROM else 2
    shown = f"{value:,.{places}f}"
    if places:
        shown = shown.rstrip("0").rstrip(".")
    return f"{shown} {unit}".rstrip()
