"""Items of the conversation to and from the wire."""

import binascii
import re
from typing import Any, Final

from gateway.core.realtime.config import AudioFormat
from gateway.core.realtime.items import Item, Part
from gateway.protocols.realtime.checks import (
    Object,
    a_string,
    a_word,
    an_array,
    an_object,
    audio_bytes,
    given,
    only,
)
from gateway.protocols.realtime.dialect import Dialect
from gateway.protocols.realtime.errors import EventError, invalid, missing, unknown
from gateway.protocols.realtime.ids import new_id

MAX_ID: Final = 32
MAX_CALL_ID: Final = 64
"""Ours are shorter; other APIs' calls that a client replays may have longer ids."""
MAX_IMAGE: Final = 21 * 1024 * 1024
# Images come back in acknowledgements only while the frame stays small.
MAX_ECHOED_IMAGE: Final = 256 * 1024
# Audio of an item that is sent back at most, in base64: what keeps its frame below 1 MiB.
MAX_RETRIEVED_AUDIO: Final = 700 * 1024

IMAGE: Final = re.compile(r"data:image/(png|jpe?g);base64,")

_ANY_ITEM: Final = ("id", "object", "type", "status")
ITEM_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
}
_ALL_KEYS: Final = frozenset(key for keys in ITEM_KEYS.values() for key in keys)
PART_TYPES: Final[dict[str, dict[str, Any]]] = {
    "system": {"input_text": "input_text"},
    "user": {"input_text": "input_text", "input_audio": "input_audio", "input_image": "input_image"},
    # Old names beside new ones. Audio cannot be replayed: such parts are asked for their text.
    "assistant": {
        "output_text": "output_text",
        "text": "output_text",
        "output_audio": "output_text",
        "audio": "output_text",
    },
}
PART_KEYS: Final = frozenset({"type", "text", "audio", "transcript", "image_url", "detail", "format"})


def read_item(value: Any, path: str, input_format: AudioFormat) -> Item:
    """Return the item that a client made; ids that it left out are filled in.

    Raises:
        EventError: it is no item that clients may create.
    """
    wire = an_object(value, path)
    kind: Any = a_word(given(wire, "type", path), f"{path}.type", tuple(ITEM_KEYS))
    for key, item in wire.items():
        foreign = key in _ALL_KEYS and item is None  # clients with one class for all items send what others have
        if key not in _ANY_ITEM and key not in ITEM_KEYS[kind] and not foreign:
            raise unknown(f"{path}.{key}")
    item = Item(_text(wire, "id", path, MAX_ID) or new_id("item"), kind)
    match kind:
        case "message":
            item.role = a_word(given(wire, "role", path), f"{path}.role", tuple(PART_TYPES))
            content = an_array(given(wire, "content", path), f"{path}.content")
            item.parts = [
                _read_part(part, f"{path}.content[{i}]", item.role, input_format) for i, part in enumerate(content)
            ]
        case "function_call":
            item.call_id = _text(wire, "call_id", path, MAX_CALL_ID) or new_id("call")
            item.name = a_string(given(wire, "name", path), f"{path}.name")
            item.arguments = a_string(given(wire, "arguments", path), f"{path}.arguments")
        case _:
            item.call_id = a_string(given(wire, "call_id", path), f"{path}.call_id", MAX_CALL_ID)
            item.output = a_string(given(wire, "output", path), f"{path}.output")
    return item


def _text(wire: Object, key: str, path: str, limit: int) -> str:
    value = wire.get(key)
    return "" if value is None else a_string(value, f"{path}.{key}", limit)


def _read_part(value: Any, path: str, role: str, input_format: AudioFormat) -> Part:
    wire = an_object(value, path)
    types = PART_TYPES[role]
    kind: Any = types[a_word(given(wire, "type", path), f"{path}.type", tuple(types))]
    only(wire, PART_KEYS, path)
    if kind == "input_audio":
        return _read_audio(wire, path, input_format)
    if kind == "input_image":
        url = a_string(given(wire, "image_url", path), f"{path}.image_url", MAX_IMAGE)
        _check_image(url, f"{path}.image_url")
        detail = a_word(wire.get("detail") or "auto", f"{path}.detail", ("auto", "low", "high"))
        return Part(kind, image_url=url, detail=detail)
    return Part(kind, a_string(given(wire, "text", path), f"{path}.text"))


def _read_audio(wire: Object, path: str, form: AudioFormat) -> Part:
    transcript = wire.get("transcript")
    if transcript is not None:
        a_string(transcript, f"{path}.transcript")
    if wire.get("audio") is None:
        # What a client kept of an earlier session has its text only.
        if transcript is None:
            raise missing(f"{path}.audio")
        return Part("input_audio", transcript)
    audio = audio_bytes(wire["audio"], f"{path}.audio", form.bytes_per_sample)
    return Part("input_audio", transcript, audio, form.ms(len(audio)), form)


def _check_image(url: str, path: str) -> None:
    found = IMAGE.match(url)
    if found is None:
        raise invalid(path, f"Invalid '{path}'. Expected a data URI of a png or jpeg image, data:image/png;base64,….")
    try:
        picture = binascii.a2b_base64(url[found.end() :], strict_mode=True)
    except ValueError as error:
        raise EventError("invalid_value", f"Invalid '{path}'. Expected a base64-encoded image.", path) from error
    if not picture:
        raise invalid(path, f"Invalid '{path}'. Expected a base64-encoded image, but got empty bytes.")


def item_object(item: Item, dialect: Dialect, audio_format: AudioFormat | None = None) -> Object:
    """Return *item* on the wire.

    With *audio_format* (of parts that do not say theirs) its audio comes too, as far as a frame holds it.
    """
    wire: Object = {"id": item.id, "object": "realtime.item", "type": item.type, "status": item.status}
    match item.type:
        case "message":
            wire["role"] = item.role
            room = MAX_RETRIEVED_AUDIO if audio_format else 0
            parts: list[Object] = []
            for part in item.parts:
                parts.append(_part_object(part, dialect))
                if audio_format and part.audio and part.type in {"input_audio", "output_audio"}:
                    # 12 bytes are whole samples of every format and 16 whole characters.
                    kept = part.audio[: room * 3 // 4 // 12 * 12]
                    encoded = binascii.b2a_base64(kept, newline=False).decode()
                    room -= len(encoded)
                    parts[-1] |= {"audio": encoded, "format": dialect.audio_format(part.format or audio_format)}
            wire["content"] = parts
        case "function_call":
            wire |= {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
        case _:
            wire |= {"call_id": item.call_id, "output": item.output}
    return wire


def _part_object(part: Part, dialect: Dialect) -> Object:
    wire: Object = {"type": dialect.output_parts.get(part.type, part.type)}
    match part.type:
        case "input_audio":
            wire["transcript"] = part.text  # null too: clients demand the key
        case "output_audio":
            wire["transcript"] = part.text or ""  # no null here: it may have been cut away, but it is never unknown
        case "input_image":
            if len(part.image_url) <= MAX_ECHOED_IMAGE:
                wire["image_url"] = part.image_url
            wire["detail"] = part.detail
        case _:
            wire["text"] = part.text or ""
    return wire
