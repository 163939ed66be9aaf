"""What is said when little is asked: jokes, facts, coins, dice, greetings."""

import random
import re
from collections.abc import Sequence
from typing import Final

from services.llm.responder import numbers
from services.llm.responder.turn import Turn
from services.llm.responder.words import sentence

# `me` and `after` as recognisers hear them, too.
REPEAT_AFTER: Final = r"(?:repeat|say) (?:after|often|offer|half to) (?:me|may|my|mean|him|knee|we)"
SAY: Final = r"(?:please |can you |could you |would you |now |just )*(?:say|repeat|echo) "
REPEAT: Final = re.compile(rf"(?:\b{REPEAT_AFTER}|^\W*{SAY})[\s:,.;\"']*(?P<words>.+?)[\s\"']*$", re.IGNORECASE)
HOW_ARE_YOU: Final = (
    r"how (?:are|were|have) (?:you|ya|things)(?: (?:doing|going|been|feeling|today)\b.*| \w+)?$"
    r"|how (?:do you do$|is it going|is (?:life|everything)$)|are you (?:ok|okay|well|fine|all right)$"
)
PRAISE: Final = (
    r"(?:you are|that is|that was)(?: very| really| so| pretty)? (?:great|good|nice|awesome|amazing|smart|clever|cool"
    r"|funny|helpful|wonderful|excellent|perfect)$|i (?:love|like) (?:you|it|that)$|good (?:job|work|one)$|well done"
    r"|^(?:very |really |so )?(?:nice|cool|awesome|perfect|wow|funny|excellent|wonderful|amazing)$"
)
BLAME: Final = (
    r"(?:you are|that is|that was|you) (?:\w+ )?(?:stupid|dumb|useless|wrong|bad|terrible|idiot|not good|annoying)"
    r"|^(?:wrong|stupid|that is not right)$|i (?:hate|don't like) you"
)

JOKES: Final = (
    "Why did the robot go on holiday? It needed to recharge its batteries.",
    "I would tell you a joke about silence, but you would have to hear it.",
    "Why was the computer cold? It left its windows open.",
    "What do you call a fake noodle? An impasta.",
    "Why did the scarecrow win a prize? He was outstanding in his field.",
    "Parallel lines have so much in common. It is a pity they never meet.",
)
FACTS: Final = (
    "Honey hardly ever spoils: pots of it from ancient tombs were still good.",
    "An octopus has three hearts and blue blood.",
    "A day on Venus is longer than a year on Venus.",
    "Bananas are berries, and strawberries are not.",
    "Sound travels about four times as fast in water as in air.",
    "The Eiffel Tower grows by about fifteen centimetres on hot days.",
)
FINE: Final = (
    "I am fine, thank you. How can I help you?",
    "All my rules are in good order, thank you. And you?",
)
WELCOME: Final = ("You are welcome.", "My pleasure.", "Any time.")
GOODBYES: Final = ("Goodbye.", "Goodbye, and take care.", "See you soon.")

DICE: Final = 6
MOST_COUNTED: Final = 20
_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def fresh(texts: Sequence[str], said: Sequence[str], rng: random.Random) -> str:
    """Return one of *texts* that has not been *said* in this conversation, any once all have been."""
    return rng.choice([text for text in texts if text not in said] or texts)


def greeting(_turn: Turn, match: re.Match[str]) -> str:
    """Greet as it fits the time of day, where the user did."""
    said = match.group()
    hello = sentence(said).rstrip(".") if said.startswith("good ") else "Hello"
    return f"{hello}! How can I help you?"


def coin(turn: Turn, _match: re.Match[str]) -> str:
    """Flip a coin."""
    return turn.rng.choice(("It is heads.", "It is tails."))


def dice(turn: Turn, match: re.Match[str]) -> str:
    """Roll a die, or two where two are named."""
    if re.search(r"\b(?:two|both|2)\b", match.string):
        first, second = turn.rng.randint(1, DICE), turn.rng.randint(1, DICE)
        both = f"{numbers.in_words(first)} and {numbers.in_words(second)}"
        return f"I rolled {both}, which makes {numbers.in_words(first + second)}."
    return f"I rolled a {numbers.in_words(turn.rng.randint(1, DICE))}."


def number(turn: Turn, match: re.Match[str]) -> str:
    """Pick a number between those named, else from one to ten."""
    named = _numbers(match.string)
    low, high = sorted(named[:2]) if len(named) > 1 else (1, named[0] if named and named[0] > 0 else 10)
    return f"I pick {numbers.in_words(turn.rng.randint(low, high))}."


def count_up(_turn: Turn, match: re.Match[str]) -> str | None:
    """Count to the number named, from the one named before it or from one."""
    named = _numbers(match.string)
    if not named:
        return None
    first, last = (named[0], named[1]) if len(named) > 1 else (1, named[0])
    step = 1 if last >= first else -1
    counted = list(range(first, last + step, step)[:MOST_COUNTED])
    ending = "" if counted[-1] == last else " And so on: that is as far as I go."
    return sentence(", ".join(numbers.in_words(n) for n in counted)) + ending


def spell(_turn: Turn, match: re.Match[str]) -> str:
    """Spell a word, letter by letter."""
    return f"{sentence(', '.join(match['word'][:30].upper()))}"


def _numbers(text: str) -> list[int]:
    """Return the whole numbers in *text*, in order."""
    words = _WORD.findall(text)
    found: list[int] = []
    at = 0
    while at < len(words):
        parsed = numbers.parse(words, at)
        if parsed and parsed[0].denominator == 1:
            found.append(int(parsed[0]))
        at = parsed[1] if parsed else at + 1
    return found
