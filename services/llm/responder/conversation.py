"""From a request to its answer: a directive, a tool's output, a tool call, a rule, or the honest fallback."""

import random
import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

from services.llm.engine import Author, Call, Message, Mode, Request
from services.llm.responder import outputs, rules, tools
from services.llm.responder.turn import Turn
from services.llm.responder.words import LONGEST_CHARS, plain

# The one thing that is read in instructions. A line of its own: `Say exactly: Welcome to the museum.`
DIRECTIVE: Final = re.compile(
    r"^[ \t]*(?:always |only )?(?:say|answer|reply|respond)(?: with)? exactly[ \t]*:?[ \t]*(?P<words>\S.*)$",
    re.IGNORECASE | re.MULTILINE,
)
QUOTES: Final = "\"'\u2018\u2019\u201c\u201d "
WELCOME: Final = "Hello! How can I help you?"
NO_EYES: Final = "I cannot see pictures. I am only a small rule-based responder."


class Responder:
    """Answers requests by rules. Keeps nothing between them; *now* and *rng* are its clock and its dice."""

    def __init__(self, now: Callable[[], datetime], rng: random.Random) -> None:
        self._now = now
        self._rng = rng

    def respond(self, request: Request) -> str | Call:
        """Return the answer to *request*: what to say, or the tool to call."""
        messages = tuple(message for message in request.messages if message.author is not Author.SYSTEM)
        if messages and messages[-1].author is Author.TOOL:
            return " ".join(outputs.say(message.text) for message in _trailing_outputs(messages))
        if request.tool_choice in {Mode.REQUIRED, Mode.NAMED}:
            forced = tools.decide(request)
            if isinstance(forced, Call):
                return forced
        directive = DIRECTIVE.search(request.instructions[:LONGEST_CHARS])
        if directive:
            return directive["words"].strip(QUOTES)
        place = next((at for at in reversed(range(len(messages))) if messages[at].author is Author.USER), None)
        return WELCOME if place is None else self._answer(request, messages[place], messages[:place])

    def _answer(self, request: Request, asked: Message, earlier: tuple[Message, ...]) -> str | Call:
        if not asked.text.strip() and len(asked.parts) > sum(isinstance(part, str) for part in asked.parts):
            return NO_EYES
        turn = Turn(asked.text, plain(asked.text), earlier, self._now(), self._rng)
        if not turn.plain:
            return rules.fallback(turn)
        first = rules.respond(turn, before_tools=True) if request.tools else None
        if first is not None:
            return first
        decided = tools.decide(request)
        match decided:
            case Call():
                return decided
            case tools.Question(text):
                return text
        return rules.respond(turn) or rules.fallback(turn)


def _trailing_outputs(messages: tuple[Message, ...]) -> list[Message]:
    """Return the outputs that ended the conversation, in order: parallel calls have one each."""
    start = len(messages)
    while start > 0 and messages[start - 1].author is Author.TOOL:
        start -= 1
    return list(messages[start:])
