"""Fills the arguments of a tool from an utterance, property by property of its JSON Schema.

    enum, const     a value that was said
    number, integer a number within the bounds, best one beside the property's name (`ten minutes`)
    boolean         on or off, yes or no
    string          by what its name says it is: a place after `in`, a person after `to`, a day, what follows `saying`
    array           one item
What a schema says in another way (`$ref`, objects, patterns) is not understood, and stays empty.
"""

# ruff: noqa: SIM905 - a list of words is read as one

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from services.llm.responder import numbers
from services.llm.responder.words import LONGEST_CHARS

Value = str | int | float | bool | list[Any] | None

# What names of properties say, and the words that such a value follows.
KINDS: Final = (
    ("origin", {"origin", "source", "departure"}, ("from", "leaving")),
    ("place", {"destination", "arrival"}, ("to", "towards", "into", "for")),
    (
        "place",
        {"city", "location", "place", "town", "country", "where", "address", "region", "state", "area", "room"},
        ("in", "at", "near", "around", "for", "of", "from", "to"),
    ),
    (
        "person",
        {"person", "contact", "recipient", "who", "guest", "customer", "name", "user"},
        ("to", "for", "call", "named", "called", "with", "is"),
    ),
    (
        "content",
        {"message", "text", "content", "body", "note", "query", "question", "search", "topic", "keyword", "keywords",
         "title", "song", "item", "task", "reminder", "subject", "label", "q"},
        ("saying", "says", "that", "for", "about", "to", "play", "named", "called", "search", "add", "remember"),
    ),
)  # fmt: skip
OTHERWISE: Final = ("to", "as", "called", "named", "is", "of")
NAMES: Final = frozenset({"origin", "place", "person"})
DAY: Final = re.compile(
    r"\b(?:(?:the )?day after tomorrow|today|tonight|tomorrow(?: morning| afternoon| evening| night)?|yesterday"
    r"|(?:next |this )?(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday|week|weekend|month|year))\b"
)
WHEN: Final = frozenset({"date", "day", "when", "time", "datetime"})
# Words at which a name ends.
STOPS: Final = frozenset(
    "today tonight tomorrow yesterday now please right and or in at on for to from with is are was by about next this "
    "the a an my i you it me then thanks using".split()
)
LEADS: Final = frozenset({"the", "a", "an", "my", "in", "at", "for", "to", "from", "it", "is", "near", "please", "use"})
ON: Final = frozenset({"on", "yes", "true", "enable", "enabled", "start", "open", "with"})
OFF: Final = frozenset({"off", "no", "not", "false", "disable", "disabled", "stop", "close", "without"})
NAME_WORDS: Final = 4
CONTENT_WORDS: Final = 60

_WORD: Final = re.compile(r"[^\W_]+(?:['.-][^\W_]+)*")


class Utterance:
    """The words of an utterance, each of which fills one argument at most."""

    def __init__(self, text: str) -> None:
        self.words = _WORD.findall(text[:LONGEST_CHARS])
        self.lower = [word.lower() for word in self.words]
        self.taken: set[int] = set()

    def take(self, start: int, end: int, *, name: bool = False) -> str:
        """Return the words from *start* to *end* as they were said, or capitalised as a *name*."""
        self.taken.update(range(start, end))
        words = self.words[start:end]
        return " ".join(word[:1].upper() + word[1:] for word in words) if name else " ".join(words)


def properties(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield name and schema of every property, what is no schema as an empty one."""
    declared = schema.get("properties")
    for name, value in declared.items() if isinstance(declared, dict) else ():
        yield str(name), value if isinstance(value, dict) else {}


def required(schema: Mapping[str, Any]) -> list[str]:
    """Return the names of properties that a call must have; names that are not declared are passed over."""
    names = schema.get("required")
    known = {name for name, _ in properties(schema)}
    return [name for name in names if isinstance(name, str) and name in known] if isinstance(names, list) else []


def fill(schema: Mapping[str, Any], text: str) -> dict[str, Value]:
    """Return the arguments that *text* says, and the defaults of required ones that it does not."""
    utterance = Utterance(text)
    needed = required(schema)
    arguments: dict[str, Value] = {}
    # Values that must be said exactly first, names last: `in celsius` is no place.
    for name, declared in sorted(properties(schema), key=lambda item: _freedom(item[1])):
        value = _value(name, declared, utterance)
        if value is None and name in needed:
            value = declared.get("default")
        if value is not None:
            arguments[name] = value
    return {name: arguments[name] for name, _ in properties(schema) if name in arguments}


def missing(schema: Mapping[str, Any], arguments: Mapping[str, Value]) -> str | None:
    """Return the first required property without a value."""
    return next((name for name in required(schema) if name not in arguments), None)


def bare(schema: Mapping[str, Any], name: str, text: str) -> Value:
    """Return *text* as the answer to a question for the property *name* alone."""
    declared = dict(properties(schema)).get(name, {})
    utterance = Utterance(text)
    value = _value(name, declared, utterance)
    if value is not None or _choices(declared) or _type(declared) != "string":
        return value
    start = next((at for at, word in enumerate(utterance.lower) if word not in LEADS), len(utterance.words))
    end = len(utterance.words)
    while end > start and utterance.lower[end - 1] in {"please", "thanks"}:
        end -= 1
    return utterance.take(start, min(end, start + CONTENT_WORDS), name=_kind(name)[0] in NAMES) or None


def forced(schema: Mapping[str, Any], text: str) -> dict[str, Value]:
    """Return arguments for a call that must be made: what is required and was not said gets the likeliest value."""
    arguments = fill(schema, text)
    while (name := missing(schema, arguments)) is not None:
        declared = dict(properties(schema))[name]
        choices = _choices(declared)
        blank: dict[str, Value] = {"number": 0, "integer": 0, "boolean": False, "array": [], "string": text.strip()}
        arguments[name] = choices[0] if choices else blank.get(_type(declared), "")
    return arguments


def question(schema: Mapping[str, Any], name: str) -> str:
    """Return the question that asks for a property."""
    declared = dict(properties(schema)).get(name, {})
    words = human(name)
    choices = [str(choice) for choice in _choices(declared)]
    if choices:
        return f"Which {words} do you mean: {' or '.join(choices[:5])}?"
    match _type(declared):
        case "number" | "integer":
            return f"What number should I use for the {words}?"
        case "boolean":
            return f"Should the {words} be on or off?"
    return f"Which {words} do you mean?"


def human(name: str) -> str:
    """Return an identifier as words: `cityName`, `city_name` → `city name`."""
    return " ".join(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ").lower().split())


def _type(declared: Mapping[str, Any]) -> str:
    """Return the type a schema allows; of several the first that is not null (`anyOf` is how pydantic writes None)."""
    kind = declared.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), None)
    for key in ("anyOf", "oneOf"):
        options = declared.get(key)
        for option in options if kind is None and isinstance(options, list) else ():
            if isinstance(option, dict) and option.get("type") != "null":
                return str(option.get("type", ""))
    return (
        str(kind) if kind is not None else ("" if {"$ref", "anyOf", "oneOf", "allOf"} & declared.keys() else "string")
    )


def _choices(declared: Mapping[str, Any]) -> list[Any]:
    choices = declared.get("enum", [declared["const"]] if "const" in declared else [])
    return [choice for choice in choices if choice is not None] if isinstance(choices, list) else []


def _freedom(declared: Mapping[str, Any]) -> int:
    return 0 if _choices(declared) else 2 if _type(declared) in {"string", "array"} else 1


def _value(name: str, declared: Mapping[str, Any], utterance: Utterance) -> Value:
    if choices := _choices(declared):
        return _choice(choices, utterance)
    match kind := _type(declared):
        case "number" | "integer":
            return _number(name, declared, utterance, whole=kind == "integer")
        case "boolean":
            return _switch(utterance)
        case "array":
            items = declared.get("items")
            item = _value(name.removesuffix("s"), items if isinstance(items, dict) else {}, utterance)
            return None if item is None else [item]
        case "string":
            return _text(name, utterance)
    return None


def _choice(choices: Sequence[Any], utterance: Utterance) -> Value:
    """Return the choice that was said, longest first: `hot water` before `water`."""
    for choice in sorted(choices, key=lambda choice: -len(str(choice))):
        words = human(str(choice)).split()
        for at in range(len(utterance.lower) - len(words) + 1):
            if words and utterance.lower[at : at + len(words)] == words:
                utterance.take(at, at + len(words))
                found: Value = choice
                return found
    return None


def _number(name: str, declared: Mapping[str, Any], utterance: Utterance, *, whole: bool) -> int | float | None:
    found: list[tuple[bool, int, int, int | float]] = []
    own = {word.rstrip("s") for word in human(name).split()}
    at = 0
    while at < len(utterance.lower):
        parsed = None if at in utterance.taken else numbers.parse(utterance.lower, at)
        if parsed is None:
            at += 1
            continue
        value, end = parsed
        around = utterance.lower[max(at - 2, 0) : at] + utterance.lower[end : end + 1]
        if (value.denominator == 1 or not whole) and _within(float(value), declared):
            number = int(value) if value.denominator == 1 else float(value)
            found.append((not own & {word.rstrip("s") for word in around}, at, end, number))
        at = end
    if not found:
        return None
    _, start, end, number = min(found)
    utterance.take(start, end)
    return number


def _within(value: float, declared: Mapping[str, Any]) -> bool:
    low, high = declared.get("minimum"), declared.get("maximum")
    return (not isinstance(low, int | float) or value >= low) and (not isinstance(high, int | float) or value <= high)


def _switch(utterance: Utterance) -> bool | None:
    said = set(utterance.lower)
    return False if said & OFF else True if said & ON else None


def _kind(name: str) -> tuple[str, tuple[str, ...]]:
    own = set(human(name).split())
    return next(((kind, leads) for kind, hints, leads in KINDS if own & hints), ("", OTHERWISE))


def _text(name: str, utterance: Utterance) -> str | None:
    own = human(name).split()
    if WHEN & set(own):
        day = DAY.search(" ".join(utterance.lower))
        return day.group() if day else None
    kind, leads = _kind(name)
    named = [at + 1 for at, word in enumerate(utterance.lower) if kind == "" and word in own]
    after = [at + 1 for lead in leads for at, word in enumerate(utterance.lower) if word == lead]
    for start in named + after:
        begin = start
        while begin < len(utterance.lower) and utterance.lower[begin] in {"the", "a", "an", "my", "is", "to"}:
            begin += 1
        end = _end(utterance, begin, kind)
        if end > begin:
            return utterance.take(begin, end, name=kind in NAMES)
    return None


def _end(utterance: Utterance, start: int, kind: str) -> int:
    """Return where the value that begins at *start* ends; *start* itself if none does."""
    if kind == "content":
        return min(len(utterance.words), start + CONTENT_WORDS)
    end = start
    while end < len(utterance.words) and end - start < NAME_WORDS and end not in utterance.taken:
        if utterance.lower[end] in STOPS or numbers.parse(utterance.lower, end) is not None:
            break
        end += 1
    return end


def as_json(arguments: Mapping[str, Value]) -> str:
    """Return *arguments* as a call carries them."""
    return json.dumps(arguments, ensure_ascii=False)
