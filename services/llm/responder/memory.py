"""What the user has told of themselves, found again in the conversation: `my name is Anna`, `my dog is called Rex`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# The forms in which people say it, over plain words; the thing is `name` where the form does not name it.
FORMS: Final = (
    re.compile(r"\bmy (?:first |full )?name is (?P<value>.+)"),
    re.compile(r"^(?:please |you can |just )*call me (?P<value>.+)"),
    re.compile(r"\bi am called (?P<value>.+)"),
    re.compile(r"\bmy (?P<thing>[\w']+(?: [\w']+){0,3}?) (?P<verb>is|are) (?:called |named )?(?P<value>.+)"),
)
# A value ends where the next thought begins.
ENDS: Final = re.compile(r" (?:and|but|so|what|can|how|please|because|i|do)\b.*")
NAME_WORDS: Final = 3
VALUE_WORDS: Final = 8
# What people call the same thing.
SPELLINGS: Final = {"favourite": "favorite", "colour": "color", "mom": "mother", "dad": "father"}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing the user told of themselves."""

    thing: str
    value: str
    verb: str = "is"


def fact_in(plain: str) -> Fact | None:
    """Return what *plain* words tell of the user, None if nothing."""
    for form in FORMS:
        match = form.search(plain)
        if match is None:
            continue
        named = match.groupdict()
        thing = named.get("thing") or "name"
        words = ENDS.sub("", match["value"]).split()[:VALUE_WORDS]
        if thing == "name":
            words = [word[:1].upper() + word[1:] for word in words[:NAME_WORDS]]
        value = " ".join("your" if word == "my" else word for word in words)
        return Fact(thing, value, named.get("verb") or "is") if value else None
    return None


def recall(thing: str, told: Sequence[str]) -> Fact | None:
    """Return what was *told* of *thing* in plain words, newest first; None if nothing was."""
    for plain in told:
        fact = None if re.match(r"(?:what|who|do you|when|where|tell me|one is)\b", plain) else fact_in(plain)
        if fact is not None and _same(fact.thing, thing):
            return fact
    return None


def _same(one: str, other: str) -> bool:
    left, right = ([SPELLINGS.get(word, word) for word in thing.split()] for thing in (one, other))
    return left == right
