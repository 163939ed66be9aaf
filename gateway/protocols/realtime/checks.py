"""Checks of JSON values: each takes the value and its path, and returns what was meant or raises EventError."""

import binascii
from typing import Any

from gateway.protocols.realtime.errors import (
    EventError,
    invalid,
    missing,
    out_of_range,
    too_long,
    unknown,
    unsupported,
    wrong_type,
)

# Longest text of an item or of instructions: what is echoed in a frame of less than 1 MiB.
MAX_TEXT = 524_288
# Longest audio of one event, before base64.
MAX_AUDIO_BYTES = 15 * 1024 * 1024

Object = dict[str, Any]


def an_object(value: Any, path: str) -> Object:
    """Return the object *value*."""
    if not isinstance(value, dict):
        raise wrong_type(path, "an object", value)
    return value


def an_array(value: Any, path: str) -> list[Any]:
    """Return the array *value*."""
    if not isinstance(value, list):
        raise wrong_type(path, "an array", value)
    return value


def a_string(value: Any, path: str, limit: int = MAX_TEXT) -> str:
    """Return the string *value*, of *limit* characters at most."""
    if not isinstance(value, str):
        raise wrong_type(path, "a string", value)
    if len(value) > limit:
        raise too_long(path, limit, len(value))
    return value


def a_flag(value: Any, path: str) -> bool:
    """Return the boolean *value*."""
    if not isinstance(value, bool):
        raise wrong_type(path, "a boolean", value)
    return value


def an_integer(value: Any, path: str, low: int | None = None, high: int | None = None) -> int:
    """Return the integer *value*; 5.0 is one, because JSON knows only numbers."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(path, "an integer", value)
    if (low is not None and value < low) or (high is not None and value > high):
        raise out_of_range(path, value, low, high)
    return value


def a_number(value: Any, path: str, low: float, high: float) -> float:
    """Return the number *value* from *low* to *high*."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise wrong_type(path, "a decimal", value)
    # The bounds first: an integer may be too large for a float.
    if not low <= value <= high:
        raise out_of_range(path, float(min(max(value, -1e9), 1e9)), low, high)
    return float(value)


def a_word(value: Any, path: str, words: tuple[str, ...]) -> Any:
    """Return *value*, one of *words*."""
    if not isinstance(value, str):
        raise wrong_type(path, "a string", value)
    if value not in words:
        raise unsupported(path, value, words)
    return value


def given(owner: Object, key: str, path: str) -> Any:
    """Return the value of *key*, which must be there and not null."""
    value = owner.get(key)
    if value is None:
        raise missing(f"{path}.{key}" if path else key)
    return value


def only(owner: Object, known: frozenset[str], path: str) -> None:
    """Let no key be there but *known*."""
    for key in owner:
        if key not in known:
            raise unknown(f"{path}.{key}")


def audio_bytes(value: Any, path: str, bytes_per_sample: int) -> bytes:
    """Return the audio in base64 *value*: some, and whole samples."""
    text = a_string(value, path, MAX_AUDIO_BYTES * 4 // 3 + 4)
    try:
        audio = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # also what is not ASCII
        raise not_audio(path, "an invalid value") from error
    return whole_audio(audio, path, bytes_per_sample)


def whole_audio(audio: bytes, path: str, bytes_per_sample: int) -> bytes:
    """Return *audio* if it is some, and whole samples."""
    if not audio:
        raise not_audio(path, "empty bytes")
    if len(audio) % bytes_per_sample:
        raise not_audio(path, f"{len(audio)} bytes, which are not whole 16-bit samples")
    return audio


def not_audio(path: str, got: str) -> EventError:
    """Return the error for audio that is none."""
    return invalid(path, f"Invalid '{path}'. Expected base64-encoded audio bytes (mono), but got {got}.")
