"""What is wrong with a client event, in the words of OpenAI's API.

EventError   the event has no effect; it becomes the `error` event

Codes and messages are those that clients have been seen to read. Paths are dotted: `session.tools[2].name`.
"""

from collections.abc import Iterable
from typing import Any

from gateway.core.realtime.notices import Rejected

SHOWN = 100
"""Characters of a client's own value that a message repeats."""


class EventError(Exception):
    """A client event is rejected. *event_id* is the client's own, as far as it could be read."""

    def __init__(self, code: str, message: str, param: str | None = None, event_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.event_id = event_id

    def notice(self) -> Rejected:
        """Return what the client is told."""
        return Rejected(self.code, self.message, self.param, self.event_id)


def missing(path: str) -> EventError:
    """Return the error for a field that must be there."""
    return EventError("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def unknown(path: str) -> EventError:
    """Return the error for a field that does not exist."""
    return EventError("unknown_parameter", f"Unknown parameter: '{_short(path)}'.", _short(path))


def wrong_type(path: str, expected: str, value: Any) -> EventError:
    """Return the error for a value of another JSON type than *expected* ("an object")."""
    return EventError(
        "invalid_type", f"Invalid type for '{path}': expected {expected}, but got {kind(value)} instead.", path
    )


def unsupported(path: str, value: Any, supported: Iterable[str]) -> EventError:
    """Return the error for a word that is not one of *supported*."""
    words = ", ".join(f"'{word}'" for word in supported)
    return EventError("invalid_value", f"Invalid value: {_quoted(value)}. Supported values are: {words}.", path)


def invalid(path: str | None, message: str) -> EventError:
    """Return the error for a value that cannot be used, for the reason *message*."""
    return EventError("invalid_value", message, path)


def too_long(path: str, limit: int, length: int) -> EventError:
    """Return the error for a string of more than *limit* characters."""
    return EventError(
        "string_above_max_length",
        f"Invalid '{path}': string too long. Expected a string with maximum length {limit}, "
        f"but got a string with length {length} instead.",
        path,
    )


def out_of_range(path: str, value: float, low: float | None, high: float | None) -> EventError:
    """Return the error for a number that is not from *low* to *high*."""
    kind_of_number = "integer" if isinstance(value, int) else "decimal"
    below = low is not None and value < low
    side, word, bound = ("below_min", "a value >=", low) if below else ("above_max", "a value <=", high)
    return EventError(
        f"{kind_of_number}_{side}_value",
        f"Invalid '{path}': {kind_of_number} {side.replace('_', ' ')} value. Expected {word} {bound}, "
        f"but got {value} instead.",
        path,
    )


def kind(value: Any) -> str:
    """Return the JSON type of *value* with its article."""
    kinds = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array"}
    return "null" if value is None else kinds.get(type(value), "an object")


def _quoted(value: Any) -> str:
    return f"'{_short(value)}'" if isinstance(value, str) else _short(str(value))


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
