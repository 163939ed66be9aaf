"""JSON text of a client to what it asks for.

An event is answered for whole: it becomes what the core understands, or EventError, which names it and has no effect.
Keys of an event that are not known are ignored; unknown keys inside sessions, responses and items are errors.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, Literal

import msgspec

from gateway.core.input import BLOCK_BYTES, BYTES_PER_MS
from gateway.core.realtime import client_events as ask
from gateway.core.realtime.config import AudioFormat, SessionConfig
from gateway.protocols.realtime.audio import HALF_MS, Resampler
from gateway.protocols.realtime.checks import (
    MAX_AUDIO_BYTES,
    Object,
    a_string,
    a_word,
    an_array,
    an_integer,
    an_object,
    audio_bytes,
    given,
    only,
    whole_audio,
)
from gateway.protocols.realtime.errors import EventError, invalid, missing, too_long, unsupported, wrong_type
from gateway.protocols.realtime.fields import override, update_session
from gateway.protocols.realtime.items import read_item
from gateway.protocols.realtime.values import Rules

MAX_EVENT_ID: Final = 512
APPEND: Final = "input_audio_buffer.append"
# Longer audio comes in pieces, so that others are served between them.
PIECE_MS: Final = 1000
# What is heard in one go.
SHORT_MS: Final = BLOCK_BYTES // BYTES_PER_MS - HALF_MS
# The longest frame that may hold so much, at 48 kHz in base64: what is longer need not be decoded to know.
LONGEST_FRAME: Final = SHORT_MS * 48 * 2 * 4 // 3 + 6 * MAX_EVENT_ID + 1024


class Append(msgspec.Struct, gc=False):
    """Audio as the client sent it: the event that nearly all frames hold, base64 included: read by one pass in C."""

    type: Literal["input_audio_buffer.append"]  # no tag: msgspec takes objects that have none
    audio: bytes
    event_id: str | None = None


_APPEND: Final = msgspec.json.Decoder(Append)
_ANYTHING: Final = msgspec.json.Decoder()


class ClientEvents:
    """Reads the events of one connection."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._resampler = Resampler(AudioFormat())
        self._untouched = True
        """Whether the type of the session may still change: no audio and no item have come."""
        self._readers: dict[str, Callable[[Object, SessionConfig], ask.ClientEvent]] = {
            "session.update": self._update,
            "transcription_session.update": self._update,
            "input_audio_buffer.commit": lambda event, _: ask.CommitInput(_id(event)),
            "input_audio_buffer.clear": lambda event, _: ask.ClearInput(_id(event)),
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": lambda event, _: ask.RetrieveItem(_item_id(event), _id(event)),
            "conversation.item.truncate": self._truncate,
            "conversation.item.delete": lambda event, _: ask.DeleteItem(_item_id(event), _id(event)),
            "response.create": self._create_response,
            "response.cancel": self._cancel_response,
            "output_audio_buffer.clear": self._clear_output,
        }

    def read(self, text: str | bytes, config: SessionConfig) -> Iterable[ask.ClientEvent]:
        """Return what the frame *text* asks for, *config* being in force: one event, or several of long audio.

        Raises:
            EventError: it asks for nothing that can be done.
        """
        if isinstance(text, bytes):
            raise EventError("invalid_json", "Binary messages are not understood; send JSON in text messages.")
        try:
            append = _APPEND.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return self._read_any(text, config)
        if append.event_id is not None and len(append.event_id) > MAX_EVENT_ID:
            raise too_long("event_id", MAX_EVENT_ID, len(append.event_id))
        return self._audio(append.audio, append.event_id, config)

    def append(self, frame: bytes, config: SessionConfig) -> Append | None:
        """Return the audio of *frame*; None if it is no append, not a good one, or one of more than `SHORT_MS`.

        What is made of it is told by `heard`, of several together if they may wait.
        """
        if len(frame) > LONGEST_FRAME:
            return None
        try:
            append = _APPEND.decode(frame)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        audio, form, event_id = append.audio, config.input_format, append.event_id
        short = 0 < len(audio) <= form.bytes_per_s * SHORT_MS // 1000
        if not short or len(audio) % form.bytes_per_sample or (event_id is not None and len(event_id) > MAX_EVENT_ID):
            return None
        return append

    def heard(self, audio: bytes, event_id: str | None, config: SessionConfig) -> ask.AppendAudio:
        """Return the event of *audio* that `append` let pass; of several appends, *event_id* is the last one's."""
        return self._appended(audio, event_id, config.input_format)

    # -- audio --------------------------------------------------------------------------------------------------------

    def _audio(self, audio: bytes, event_id: str | None, config: SessionConfig) -> Iterable[ask.ClientEvent]:
        form = config.input_format
        if not audio or len(audio) % form.bytes_per_sample or len(audio) > MAX_AUDIO_BYTES:
            raise _named(_audio_error(audio, form), event_id)
        piece = form.bytes_per_s * PIECE_MS // 1000
        if len(audio) <= piece:
            return (self._appended(audio, event_id, form),)
        return (self._appended(audio[start : start + piece], event_id, form) for start in range(0, len(audio), piece))

    def _appended(self, audio: bytes, event_id: str | None, form: AudioFormat) -> ask.AppendAudio:
        self._untouched = False
        if form is not self._resampler.form and form != self._resampler.form:
            self._resampler = Resampler(form)
        return ask.AppendAudio(self._resampler.push(audio), audio, event_id)

    # -- everything else ----------------------------------------------------------------------------------------------

    def _read_any(self, text: str, config: SessionConfig) -> Iterable[ask.ClientEvent]:
        try:
            event = _ANYTHING.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise EventError("invalid_json", f"The message is not valid JSON: {error}.") from error
        if not isinstance(event, dict):
            raise EventError("invalid_json", "The message is not a JSON object.")
        event_id = event.get("event_id")
        usable = event_id if isinstance(event_id, str) and len(event_id) <= MAX_EVENT_ID else None
        try:
            kind = given(event, "type", "")
            if not isinstance(kind, str):
                raise wrong_type("type", "a string", kind)
            if event_id is not None:
                a_string(event_id, "event_id", MAX_EVENT_ID)
            if kind not in self._rules.dialect.client_events:
                raise unsupported("type", kind, self._rules.dialect.client_events)
            if kind == APPEND:
                audio = audio_bytes(given(event, "audio", ""), "audio", config.input_format.bytes_per_sample)
                return self._audio(audio, usable, config)
            return (self._readers[kind](event, config),)
        except EventError as error:
            raise _named(error, usable) from error

    def _update(self, event: Object, config: SessionConfig) -> ask.ClientEvent:
        wire = an_object(given(event, "session", ""), "session")
        return ask.UpdateSession(update_session(self._typed(event, wire, config), wire, self._rules), _id(event))

    def _typed(self, event: Object, wire: Object, config: SessionConfig) -> SessionConfig:
        """Return *config*, of the type that the client asks for."""
        dialect = self._rules.dialect
        if dialect.types_are_required:
            path = "session.type"
            wanted: Any = a_word(given(wire, "type", "session"), path, tuple(dialect.session_events))
        else:
            path = "type"
            wanted = "realtime" if event["type"] == "session.update" else "transcription"
        if wanted == config.type:
            return config
        if not self._untouched:
            raise invalid(path, f"Invalid '{path}': this is a {config.type} session, which it remains.")
        return replace(config, type=wanted, transcription=None if wanted == "realtime" else config.transcription)

    def _create_item(self, event: Object, config: SessionConfig) -> ask.ClientEvent:
        previous = event.get("previous_item_id")
        if previous is not None:
            a_string(previous, "previous_item_id")
        item = read_item(given(event, "item", ""), "item", config.input_format)
        self._untouched = False
        return ask.CreateItem(item, previous or None, _id(event))

    def _truncate(self, event: Object, _config: SessionConfig) -> ask.ClientEvent:
        index = an_integer(given(event, "content_index", ""), "content_index", 0, MAX_INTEGER)
        end_ms = an_integer(given(event, "audio_end_ms", ""), "audio_end_ms", 0, MAX_INTEGER)
        return ask.TruncateItem(_item_id(event), index, end_ms, _id(event))

    def _create_response(self, event: Object, config: SessionConfig) -> ask.ClientEvent:
        if config.type == "transcription":
            raise invalid("type", "A transcription session gives no responses: 'response.create' is not for it.")
        wire = {} if event.get("response") is None else an_object(event["response"], "response")
        if wire.get("prompt") is not None:
            raise invalid("response.prompt", "Invalid 'response.prompt': no prompts are stored here.")
        overridden = override(config.response, {k: v for k, v in wire.items() if k != "prompt"}, self._rules)
        conversation = wire.get("conversation")
        if conversation is not None:
            a_word(conversation, "response.conversation", ("auto", "none"))
        context = wire.get("input")
        items = None
        if context is not None:
            entries = enumerate(an_array(context, "response.input"))
            items = tuple(_read_input(entry, f"response.input[{i}]", config.input_format) for i, entry in entries)
        return ask.CreateResponse(overridden, conversation != "none", items, _id(event))

    def _cancel_response(self, event: Object, _config: SessionConfig) -> ask.ClientEvent:
        response_id = event.get("response_id")
        return ask.CancelResponse(
            None if response_id is None else a_string(response_id, "response_id"),
            _id(event),
        )

    def _clear_output(self, _event: Object, _config: SessionConfig) -> ask.ClientEvent:
        raise EventError(
            "invalid_event_for_transport",
            "'output_audio_buffer.clear' is for WebRTC and SIP; over a WebSocket the client holds the audio itself.",
        )


MAX_INTEGER: Final = 2**53


def _id(event: Object) -> str | None:
    event_id: str | None = event.get("event_id")
    return event_id


def _item_id(event: Object) -> str:
    return a_string(given(event, "item_id", ""), "item_id")


def _read_input(value: Any, path: str, form: AudioFormat) -> Any:
    wire = an_object(value, path)
    if wire.get("type") != "item_reference":
        return read_item(wire, path, form)
    only(wire, frozenset({"type", "id"}), path)
    item_id = a_string(given(wire, "id", path), f"{path}.id")
    if not item_id:
        raise missing(f"{path}.id")
    return ask.ItemReference(item_id)


def _audio_error(audio: bytes, form: AudioFormat) -> EventError:
    try:
        whole_audio(audio, "audio", form.bytes_per_sample)
    except EventError as error:
        return error
    longest = MAX_AUDIO_BYTES // 1024 // 1024
    return invalid("audio", f"Invalid 'audio': {len(audio)} bytes. One event may bring {longest} MiB of audio at most.")


def _named(error: EventError, event_id: str | None) -> EventError:
    error.event_id = event_id
    return error
