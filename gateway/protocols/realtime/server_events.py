"""Notices to JSON text, in the words of the connection's dialect.

Every event has an `event_id`; every frame is smaller than 1 MiB, because stock clients close the connection otherwise.
"""

from binascii import b2a_base64
from collections.abc import Callable
from typing import Any, Final

import msgspec

from gateway.core.realtime import notices as tell
from gateway.core.realtime.config import SessionConfig
from gateway.core.realtime.items import Item
from gateway.core.response import Status
from gateway.protocols.realtime.checks import Object
from gateway.protocols.realtime.dialect import Dialect
from gateway.protocols.realtime.fields import session_object, write
from gateway.protocols.realtime.ids import EventIds
from gateway.protocols.realtime.items import item_object

MAX_FRAME: Final = 1024 * 1024 - 1024
# Audio of one delta: half a second at 24 kHz. Divisible by 6: whole samples and no padding within.
DELTA_BYTES: Final = 24_000

_encode: Final = msgspec.json.Encoder().encode


class ServerEvents:
    """Writes the events of one connection. *session_id* and *conversation_id* are what the client calls them."""

    def __init__(self, dialect: Dialect, session_id: str, conversation_id: str, expires_at: int) -> None:
        self._dialect = dialect
        self._session_id = session_id
        self._conversation_id = conversation_id
        self._expires_at = expires_at
        self._ids = EventIds()
        self._config = SessionConfig()
        self._head: dict[type[Any], str] = {
            notice: f'{{"type":"{name}","event_id":"' for notice, name in dialect.event_names.items() if name
        }
        self._text_heads = {m: f'{{"type":"{name}.delta","event_id":"' for m, name in dialect.text_events.items()}
        self._audio_head = self._head[tell.AudioDelta]
        self._write: dict[type[Any], Callable[[Any], Object]] = {
            tell.Rejected: _error,
            tell.SpeechStarted: _fields,
            tell.SpeechStopped: _fields,
            tell.Committed: _fields,
            tell.Cleared: _fields,
            tell.TimeoutTriggered: _fields,
            tell.ItemAdded: self._item_in_place,
            tell.ItemDone: self._item_in_place,
            tell.ItemRetrieved: self._retrieved,
            tell.ItemTruncated: _fields,
            tell.ItemDeleted: _fields,
            tell.TranscriptionDelta: lambda n: _fields(n) | {"content_index": 0},
            tell.TranscriptionCompleted: _transcribed,
            tell.TranscriptionFailed: _not_transcribed,
            tell.ResponseCreated: lambda n: {"response": self._response(n.response)},
            tell.ResponseDone: lambda n: {"response": self._response(n.response)},
            tell.OutputItemAdded: self._output_item,
            tell.OutputItemDone: self._output_item,
            tell.PartAdded: lambda n: _at(n) | {"part": _part(n.modality, "")},
            tell.PartDone: lambda n: _at(n) | {"part": _part(n.modality, n.text)},
            tell.AudioDone: _at,
            tell.ArgumentsDelta: _fields,
            tell.ArgumentsDone: _fields,
        }

    def opening(self, config: SessionConfig) -> list[str]:
        """Return the first events of the connection."""
        self._config = config
        events = [self._session(config, "created")]
        if self._dialect.opens_with_conversation and config.type == "realtime":
            conversation = {"id": self._conversation_id, "object": "realtime.conversation"}
            events.append(self._event("conversation.created", {"conversation": conversation}))
        return events

    def write(self, notice: tell.Notice) -> list[str]:
        """Return the frames of *notice*: one, several of long audio, or none if the dialect does not have it."""
        kind = type(notice)
        if isinstance(notice, tell.AudioDelta):
            return self._audio(notice)
        if isinstance(notice, tell.TextDelta):
            return [self._text(notice)]
        if isinstance(notice, tell.TextDone):
            key = "transcript" if notice.modality == "audio" else "text"
            body = _at(notice) | {key: notice.text}
            return [self._event(f"{self._dialect.text_events[notice.modality]}.done", body)]
        if isinstance(notice, tell.SessionUpdated):
            self._config = notice.config
            return [self._session(notice.config, "updated")]
        if isinstance(notice, tell.SessionOver):
            return self.write(notice.error)
        name = self._dialect.event_names[kind]
        return [self._event(name, self._write[kind](notice))] if name else []

    # -- what comes often: no dictionary, no encoder but for text; ids of answers are ours and need no escaping -------

    def _audio(self, n: tell.AudioDelta) -> list[str]:
        audio = n.audio
        return [
            f'{self._audio_head}{self._ids.next()}","response_id":"{n.response_id}","item_id":"{n.item_id}",'
            f'"output_index":{n.output_index},"content_index":0,"delta":"'
            f'{b2a_base64(audio[start : start + DELTA_BYTES], newline=False).decode("ascii")}"}}'
            for start in range(0, len(audio), DELTA_BYTES)
        ]

    def _text(self, n: tell.TextDelta) -> str:
        return (
            f'{self._text_heads[n.modality]}{self._ids.next()}","response_id":"{n.response_id}",'
            f'"item_id":"{n.item_id}","output_index":{n.output_index},"content_index":0,'
            f'"delta":{_encode(n.delta).decode()}}}'
        )

    # -- everything else ----------------------------------------------------------------------------------------------

    def _event(self, name: str, body: Object) -> str:
        event = {"type": name, "event_id": self._ids.next(), **body}
        frame = _encode(event)
        limit = MAX_FRAME // 4
        while len(frame) > MAX_FRAME and limit:
            frame = _encode(_shortened(event, limit))
            limit //= 4
        return frame.decode()

    def _session(self, config: SessionConfig, what: str) -> str:
        session = session_object(config, self._dialect, self._session_id, self._expires_at)
        return self._event(f"{self._dialect.session_events[config.type]}.{what}", {"session": session})

    def _item_in_place(self, n: tell.ItemAdded | tell.ItemDone) -> Object:
        return {"previous_item_id": n.previous_item_id, "item": item_object(n.item, self._dialect)}

    def _retrieved(self, n: tell.ItemRetrieved) -> Object:
        own = self._config.response.output_format if n.item.role == "assistant" else self._config.input_format
        return {"item": item_object(n.item, self._dialect, own)}

    def _output_item(self, n: tell.OutputItemAdded | tell.OutputItemDone) -> Object:
        return {
            "response_id": n.response_id,
            "output_index": n.output_index,
            "item": item_object(n.item, self._dialect),
        }

    def _response(self, view: tell.ResponseView) -> Object:
        dialect, config = self._dialect, view.config
        wire: Object = {
            "id": view.id,
            "object": "realtime.response",
            "status": view.status.value,
            "status_details": _details(view),
            "output": self._output(view.output),
            "conversation_id": None if view.conversation_id is None else self._conversation_id,
            "max_output_tokens": write("max_output_tokens", config.max_output_tokens, dialect),
            "metadata": config.metadata,
            "usage": None if view.status is Status.IN_PROGRESS else _usage(view.usage or tell.Usage()),
        }
        modalities = write("modality", config.modality, dialect)
        voice = write("voice", config.voice, dialect)
        form = dialect.audio_format(config.output_format)
        if dialect.formats_are_objects:
            return wire | {"output_modalities": modalities, "audio": {"output": {"format": form, "voice": voice}}}
        temperature = write("temperature", config.temperature, dialect)
        return wire | {
            "modalities": modalities,
            "voice": voice,
            "output_audio_format": form,
            "temperature": temperature,
        }

    def _output(self, items: tuple[Item, ...]) -> list[Object]:
        return [item_object(item, self._dialect) for item in items]


def _fields(notice: Any) -> Object:
    return {name: getattr(notice, name) for name in notice.__slots__}


def _at(notice: Any) -> Object:
    return {
        "response_id": notice.response_id,
        "item_id": notice.item_id,
        "output_index": notice.output_index,
        "content_index": 0,
    }


def _part(modality: str, text: str) -> Object:
    return {"type": modality, ("transcript" if modality == "audio" else "text"): text}


def _error(n: tell.Rejected) -> Object:
    return {"error": {"type": n.type, "code": n.code, "message": n.message, "param": n.param, "event_id": n.event_id}}


def _transcribed(n: tell.TranscriptionCompleted) -> Object:
    return {
        "item_id": n.item_id,
        "content_index": 0,
        "transcript": n.transcript,
        "logprobs": None,
        "usage": {"type": "duration", "seconds": n.seconds},
    }


def _not_transcribed(n: tell.TranscriptionFailed) -> Object:
    error = {"type": "server_error", "code": "asr_failed", "message": n.message}
    return {"item_id": n.item_id, "content_index": 0, "error": error}


def _details(view: tell.ResponseView) -> Object | None:
    match view.status:
        case Status.CANCELLED | Status.INCOMPLETE:
            return {"type": view.status.value, "reason": view.reason}
        case Status.FAILED:
            error = {"type": "server_error", "code": view.error_code or None, "message": view.error_message}
            return {"type": "failed", "error": error}
    return None


def _usage(used: tell.Usage) -> Object:
    inputs = used.input_text + used.input_audio + used.input_image
    outputs = used.output_text + used.output_audio
    return {
        "total_tokens": inputs + outputs,
        "input_tokens": inputs,
        "output_tokens": outputs,
        "input_token_details": {
            "text_tokens": used.input_text,
            "audio_tokens": used.input_audio,
            "image_tokens": used.input_image,
            "cached_tokens": used.cached,
            "cached_tokens_details": {"text_tokens": used.cached, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": used.output_text, "audio_tokens": used.output_audio},
    }


def _shortened(value: Any, limit: int) -> Any:
    """Return *value* with its texts, and its arrays, cut to *limit*: what is too large for any client's frames."""
    if isinstance(value, str):
        return value[:limit]
    if isinstance(value, dict):
        return {key: _shortened(item, limit) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(item, limit) for item in value[: max(1, limit // 64)]]
    return value
