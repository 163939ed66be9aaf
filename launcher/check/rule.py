"""What a rule is: a name, the roles it holds for, what the contract says, and the coroutine that finds out.

A rule's coroutine returns one line about what it saw. It raises `BrokenRuleError` where the service does otherwise, and
`SkippedError` where it cannot be told from here; both carry the one line why.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from launcher.check.subject import Subject

Check = Callable[["Subject"], Awaitable[str]]

VAD: Final = "vad"
ASR: Final = "asr"
LLM: Final = "llm"
TTS: Final = "tts"
ALL: Final = (VAD, ASR, LLM, TTS)


class BrokenRuleError(Exception):
    """The service does not do what the contract says. The message is one line."""


class SkippedError(Exception):
    """The rule cannot be checked here. The message is one line: why, and what would let it."""


class Outcome(Enum):
    """What became of a rule."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the contract. *says* is the contract's sentence, *check* finds out whether a service keeps it."""

    name: str
    roles: tuple[str, ...]
    says: str
    check: Check


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of *rule*, why in one line, and how long it took (seconds)."""

    rule: Rule
    outcome: Outcome
    why: str
    took_s: float


def rule(*roles: str, says: str) -> Callable[[Check], Rule]:
    """Make a rule of a coroutine; its name is the coroutine's, with hyphens."""

    def declare(check: Check) -> Rule:
        return Rule(check.__name__.replace("_", "-"), roles, says, check)

    return declare
