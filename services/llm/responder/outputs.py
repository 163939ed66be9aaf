"""A tool's output as a sentence or two: JSON to words."""

import json
import math
from typing import Any, Final

from services.llm.responder.slots import human
from services.llm.responder.words import clipped, listed, sentence

# More than so many facts are no answer to listen to.
MOST_FACTS: Final = 6
TEXT_WORDS: Final = 60
TEXT_CHARS: Final = 500
# Keys that name the whole output, not a part of it.
WRAPPERS: Final = frozenset({"result", "output", "response", "answer", "message", "text", "content", "value"})
DONE: Final = "Done."


def say(output: str) -> str:
    """Return *output* as speech. What is not JSON is said as it is, in shortened form where it is long."""
    try:
        return _whole(json.loads(output)) or DONE
    except (ValueError, RecursionError):  # no JSON, or some that nobody meant to be read
        return sentence(_text(output)) or DONE


def _whole(value: Any) -> str:
    if value is True or value in (None, "", {}):
        return DONE
    if value is False:
        return "That did not work."
    match value:
        case dict():
            return _facts(value)
        case list():
            return _many(value)
    return sentence(_text(value))


def _facts(value: dict[str, Any]) -> str:
    error = value.get("error")
    if error:
        return sentence(f"That did not work: {_text(error)}")
    if len(value) == 1 and next(iter(value)).lower() in WRAPPERS:
        return _whole(next(iter(value.values())))
    facts = _flat(value)
    said = [f"the {key} is {text}" for key, text in facts[:MOST_FACTS]]
    left = len(facts) - len(said)
    if left > 0:
        said.append(f"there {'is' if left == 1 else 'are'} {left} more")
    return sentence(listed(said)) if said else DONE


def _flat(value: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Return the facts in *value* with their names, those of inner objects as well; stops when there are plenty."""
    facts: list[tuple[str, str]] = []
    for key, inner in value.items():
        name = f"{above} {human(str(key))}".strip()
        if isinstance(inner, dict) and len(name.split()) <= MOST_FACTS:
            facts += _flat(inner, name)
        else:
            facts.append((name, _text(inner)))
    return facts


def _many(values: list[Any]) -> str:
    if not values:
        return "There is nothing."
    said = [_brief(value) for value in values[:MOST_FACTS]]
    if len(values) > MOST_FACTS:
        said.append(f"{len(values) - MOST_FACTS} more")
    return sentence(listed(said))


def _brief(value: Any) -> str:
    if isinstance(value, dict):  # an entry of a list: its values say enough
        return " ".join(text for _, text in _flat(value)[:3])
    return _text(value)


def _text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "unknown"
        case str():
            return clipped(value, TEXT_WORDS, TEXT_CHARS)
        case list() | dict() | None:
            parts = value if isinstance(value, list) else [f"{key} {text}" for key, text in _flat(value or {})]
            return listed([_text(part) for part in parts[:MOST_FACTS]]) or "nothing"
    return str(value)
