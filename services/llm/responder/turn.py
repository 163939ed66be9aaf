"""What a rule sees, and what it is made of."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.llm.engine import Author, Message


@dataclass(frozen=True, slots=True)
class Turn:
    """What the user said, with everything an answer may draw on. *earlier* are the messages before it."""

    text: str
    plain: str
    earlier: tuple[Message, ...]
    now: datetime
    rng: random.Random

    @property
    def told(self) -> list[str]:
        """What the user said before, newest first."""
        return [message.text for message in reversed(self.earlier) if message.author is Author.USER]

    @property
    def answered(self) -> list[str]:
        """What was answered before, newest first."""
        return [message.text for message in reversed(self.earlier) if message.author is Author.ASSISTANT]


Answer = Callable[[Turn, re.Match[str]], str | None]
"""Says what to answer; None: the rule does not apply after all."""
