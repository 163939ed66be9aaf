"""Local agreement: which part of a growing recognition may be shown as settled.

A recogniser that hears more may change its mind about what it has heard. Words on which two consecutive hypotheses
agree, counted from the beginning, rarely change any more; they become stable. The rule (LocalAgreement-2) is that of
Liu et al., "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection",
Interspeech 2020. Stable words are never taken back, also where a later hypothesis differs from them.
"""

from dataclasses import dataclass
from itertools import takewhile
from operator import eq


@dataclass(frozen=True, slots=True)
class Partial:
    """What is understood so far; the two parts joined by a space are the text."""

    stable: str = ""
    unstable: str = ""


class Agreement:
    """Turns the hypotheses of one turn into partials whose stable part only grows."""

    def __init__(self) -> None:
        self._stable: list[str] = []
        self._last: list[str] = []

    def hear(self, hypothesis: str) -> Partial:
        """Take the newest hypothesis; return what to show."""
        words = hypothesis.split()
        agreed = _same_beginning(self._last, words)
        # A hypothesis that left the stable words says nothing about what follows them.
        if agreed[: len(self._stable)] == self._stable:
            self._stable = agreed
        self._last = words
        return Partial(" ".join(self._stable), " ".join(words[len(self._stable) :]))


def _same_beginning(one: list[str], other: list[str]) -> list[str]:
    count = sum(1 for _ in takewhile(bool, map(eq, one, other)))
    return one[:count]
