"""Which declared tool the user's words ask for, if any; and the question when something for it is missing.

A tool is chosen when the words of its name and description overlap with the user's; what is rare there (a name's noun)
counts more than what is frequent. A question asked for a missing argument is recognised in the conversation, so that
the next utterance answers it: no state is kept.
"""

# ruff: noqa: SIM905 - a list of words is read as one

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final
from uuid import uuid4

from services.llm.engine import Author, Call, Message, Mode, Request, Tool
from services.llm.responder import slots
from services.llm.responder.words import plain

# Words of tools that say nothing of what they are for.
GENERIC: Final = frozenset(
    "a about an and are as at be by can could current do find for from function get given has have how i if in info "
    "information is it its like me my name of on one or please provided return returns should show specified tell that "
    "the there this to tool use used user users value want was what when where which who will with would you "
    "your".split()
)
VERBS: Final = frozenset(
    "add book call cancel check close control create delete go list make open order play remove search send set "
    "start stop switch turn update".split()
)
NOUN_SCORE: Final = 2.0
WORD_SCORE: Final = 1.0
ENOUGH: Final = 2.0
# `whether` for `weather`, but not `time` for `timer`: short words are too alike.
ALIKE: Final = 0.8
ALIKE_LETTERS: Final = 5
ALIKE_LENGTHS: Final = 2
PLURAL_LETTERS: Final = 4  # `lights`, but not `bus`
# How far a question for missing arguments is followed back, and how much of an utterance is looked at.
MESSAGES_LOOKED_AT: Final = 12
WORDS_LOOKED_AT: Final = 120
CANCELLED: Final = re.compile(r"\b(?:never ?mind|forget it|cancel|stop|nothing|no thanks)\b")


@dataclass(frozen=True, slots=True)
class Known:
    """A tool with the words that ask for it."""

    tool: Tool
    name: frozenset[str]
    described: frozenset[str]

    def score(self, words: frozenset[str]) -> float:
        """Return how much of *words* the tool's name, description and choices have."""
        total = 0.0
        for word in words:
            if word in self.name or any(_alike(word, other) for other in self.name):
                total += WORD_SCORE if word in VERBS else NOUN_SCORE
            elif word in self.described:
                total += WORD_SCORE
        return total


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask before the tool can be called."""

    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A tool on its way to being called."""

    tool: Tool
    arguments: dict[str, slots.Value]

    @property
    def missing(self) -> str | None:
        """The next argument to ask for."""
        return slots.missing(self.tool.parameters, self.arguments)

    @property
    def question(self) -> str:
        """How it is asked for."""
        return slots.question(self.tool.parameters, self.missing or "")


def decide(request: Request) -> Call | Question | None:
    """Return the call that the conversation asks for, or what to ask first; None: no tool is meant."""
    text = next((message.text for message in reversed(request.messages) if message.author is Author.USER), "")
    match request.tool_choice:
        case Mode.NONE:
            return None
        case Mode.NAMED:
            return _must([tool for tool in request.tools if tool.name == request.tool_name], text)
        case Mode.REQUIRED:
            return _must(request.tools, text)
    plan = _follow(request.tools, request.messages[-MESSAGES_LOOKED_AT:]) if request.tools else None
    if plan is None:
        return None
    return Question(plan.question) if plan.missing else _call(plan.tool, plan.arguments)


def _must(tools: Sequence[Tool], text: str) -> Call | None:
    if not tools:
        return None
    best = _best(_known(tools), text)[1]
    return _call(best, slots.forced(best.parameters, text))


def _call(tool: Tool, arguments: dict[str, slots.Value]) -> Call:
    return Call(f"call_{uuid4().hex[:16]}", tool.name, slots.as_json(arguments))


def _follow(tools: Sequence[Tool], messages: Sequence[Message]) -> Plan | None:
    """Go through the conversation: a user's words begin a plan, or fill the one that was just asked about."""
    known = _known(tools)
    plan: Plan | None = None
    asked = ""
    for message in messages:
        match message.author:
            case Author.USER:
                plan = _filled(plan, message.text) if _asks(plan, asked) else _begun(known, message.text)
            case Author.ASSISTANT:
                asked = message.text.strip()
            case Author.TOOL:
                plan = None
    return plan


def _asks(plan: Plan | None, said: str) -> bool:
    """Tell whether what was *said* is the plan's question; an interruption may have cut it short."""
    return plan is not None and plan.missing is not None and len(said.split()) > 1 and plan.question.startswith(said)


def _begun(known: Sequence[Known], text: str) -> Plan | None:
    score, tool = _best(known, text)
    return Plan(tool, slots.fill(tool.parameters, text)) if score >= ENOUGH else None


def _best(known: Sequence[Known], text: str) -> tuple[float, Tool]:
    """Return the tool whose words were said most, with its score; the first of several."""
    words = frozenset(_stems(" ".join(plain(text).split()[:WORDS_LOOKED_AT])))
    scores = [one.score(words) for one in known]
    place = scores.index(max(scores))
    return scores[place], known[place].tool


def _filled(plan: Plan | None, text: str) -> Plan | None:
    if plan is None or plan.missing is None or CANCELLED.search(plain(text)):
        return None
    answer = slots.bare(plan.tool.parameters, plan.missing, text)
    more: dict[str, slots.Value] = {plan.missing: answer} if answer is not None else {}
    return Plan(plan.tool, slots.fill(plan.tool.parameters, text) | plan.arguments | more)


def _known(tools: Sequence[Tool]) -> list[Known]:
    return [
        Known(
            tool,
            frozenset(_stems(slots.human(tool.name))),
            frozenset(_stems(tool.description)).union(*(_stems(words) for words in _declared(tool))),
        )
        for tool in tools
    ]


def _declared(tool: Tool) -> Iterator[str]:
    for name, declared in slots.properties(tool.parameters):
        yield slots.human(name)
        choices = declared.get("enum")
        yield from (slots.human(str(choice)) for choice in (choices if isinstance(choices, list) else ()))


def _stems(text: str) -> Iterator[str]:
    for word in plain(text).split():
        if word not in GENERIC:
            yield word.removesuffix("'s").removesuffix("s") if len(word) >= PLURAL_LETTERS else word


def _alike(one: str, other: str) -> bool:
    if min(len(one), len(other)) < ALIKE_LETTERS or abs(len(one) - len(other)) > ALIKE_LENGTHS:
        return False
    return SequenceMatcher(None, one, other).ratio() >= ALIKE
