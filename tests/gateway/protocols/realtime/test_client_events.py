"""Rows of the specification: every client event, and what is wrong with bad ones."""

# ruff: noqa: E501 - the tables have one row a line

import json
from base64 import b64encode
from typing import Any

import pytest

from gateway.core.realtime import client_events as ask
from gateway.core.realtime.config import AudioFormat, ResponseConfig, SessionConfig, Tool, ToolChoice
from gateway.core.realtime.items import Item, Part
from gateway.protocols.realtime.client_events import SHORT_MS, ClientEvents
from gateway.protocols.realtime.dialect import BETA, GA, Dialect
from gateway.protocols.realtime.errors import EventError
from tests.gateway.protocols.realtime.frames import AUDIO, DIALECTS, PNG, asked, at_once, refused, rules

TRANSCRIBING = SessionConfig(type="transcription")

USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
PARTS: list[tuple[str, Any, Part]] = [
    ("system", {"type": "input_text", "text": "x"}, Part("input_text", "x")),
    ("user", {"type": "input_text", "text": ""}, Part("input_text", "")),
    (
        "user",
        {"type": "input_audio", "audio": AUDIO},
        Part("input_audio", None, bytes(960), 20.0, AudioFormat()),
    ),
    (
        "user",
        {"type": "input_audio", "audio": AUDIO, "transcript": "hm"},
        Part("input_audio", "hm", bytes(960), 20.0, AudioFormat()),
    ),
    ("user", {"type": "input_audio", "audio": None, "transcript": "hm"}, Part("input_audio", "hm")),
    ("user", {"type": "input_image", "image_url": PNG}, Part("input_image", image_url=PNG)),
    (
        "user",
        {"type": "input_image", "image_url": PNG, "detail": "low"},
        Part("input_image", image_url=PNG, detail="low"),
    ),
    ("assistant", {"type": "output_text", "text": "x"}, Part("output_text", "x")),
    ("assistant", {"type": "text", "text": "x"}, Part("output_text", "x")),
    ("assistant", {"type": "output_audio", "text": "x", "transcript": "y"}, Part("output_text", "x")),
]

GOOD: list[tuple[dict[str, Any], ask.ClientEvent]] = [
    ({"type": "input_audio_buffer.commit"}, ask.CommitInput()),
    ({"type": "input_audio_buffer.clear"}, ask.ClearInput()),
    ({"type": "conversation.item.retrieve", "item_id": "i"}, ask.RetrieveItem("i")),
    ({"type": "conversation.item.delete", "item_id": "i"}, ask.DeleteItem("i")),
    (
        {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 700},
        ask.TruncateItem("i", 0, 700),
    ),
    (
        {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 700.0},
        ask.TruncateItem("i", 0, 700),
    ),
    ({"type": "response.cancel"}, ask.CancelResponse()),
    ({"type": "response.cancel", "response_id": None}, ask.CancelResponse()),
    ({"type": "response.cancel", "response_id": "r"}, ask.CancelResponse("r")),
    ({"type": "response.create"}, ask.CreateResponse(ResponseConfig())),
    ({"type": "response.create", "response": None}, ask.CreateResponse(ResponseConfig())),
    ({"type": "response.create", "response": {}}, ask.CreateResponse(ResponseConfig())),
    (
        {"type": "response.create", "response": {"conversation": "none", "input": [], "metadata": {"k": "v"}}},
        ask.CreateResponse(ResponseConfig(metadata={"k": "v"}), in_conversation=False, input=()),
    ),
    (
        {"type": "response.create", "response": {"input": [{"type": "item_reference", "id": "i"}]}},
        ask.CreateResponse(ResponseConfig(), input=(ask.ItemReference("i"),)),
    ),
]


@DIALECTS
@pytest.mark.parametrize("event_id", [None, "mine", "x" * 512])
@pytest.mark.parametrize(("event", "meant"), GOOD, ids=[str(event) for event, _ in GOOD])
def test_good_events_are_understood(
    dialect: Dialect, event: dict[str, Any], meant: ask.ClientEvent, event_id: str | None
) -> None:
    """Unknown keys of an event, as newer clients may send them, are ignored."""
    read = asked(dialect, {**event, "event_id": event_id, "from_the_future": [1]})
    assert read.event_id == event_id  # type: ignore[union-attr]
    assert asked(dialect, event) == meant


# -- audio ------------------------------------------------------------------------------------------------------------


@DIALECTS
@pytest.mark.parametrize("keys", [("type", "audio", "event_id"), ("event_id", "audio", "type")])
def test_audio_is_decoded_and_resampled(dialect: Dialect, keys: tuple[str, ...]) -> None:
    event = {"type": "input_audio_buffer.append", "audio": AUDIO, "event_id": "a"}
    read = asked(dialect, {key: event[key] for key in keys})
    assert isinstance(read, ask.AppendAudio)
    assert (read.raw, len(read.pcm), read.event_id) == (bytes(960), 640, "a")


@DIALECTS
@pytest.mark.parametrize("keys", [("type", "audio", "event_id"), ("event_id", "audio", "type"), ("type", "audio")])
@pytest.mark.parametrize("form", [AudioFormat(), AudioFormat("pcmu", 8_000)], ids=["pcm", "pcmu"])
def test_short_audio_is_read_at_once(dialect: Dialect, keys: tuple[str, ...], form: AudioFormat) -> None:
    config = SessionConfig(input_format=form)
    short = form.bytes_per_s * SHORT_MS // 1000

    def frame(size: int) -> str:
        event = {"type": "input_audio_buffer.append", "audio": b64encode(bytes(size)).decode(), "event_id": "a"}
        return json.dumps({key: event[key] for key in keys})

    for size in (form.bytes_per_sample, short):
        assert at_once(dialect, frame(size), config) == asked(dialect, frame(size), config)
    assert at_once(dialect, frame(short + form.bytes_per_sample), config) is None


@pytest.mark.parametrize("form", [AudioFormat("pcmu", 8_000), AudioFormat("pcma", 8_000), AudioFormat("pcm", 8_000)])
def test_audio_is_read_in_the_format_in_force(form: AudioFormat) -> None:
    read = asked(GA, {"type": "input_audio_buffer.append", "audio": AUDIO}, SessionConfig(input_format=form))
    assert isinstance(read, ask.AppendAudio)
    assert len(read.pcm) == 960 // form.bytes_per_sample * 2 * 2


def test_minutes_of_audio_come_in_pieces_that_are_what_small_ones_would_be() -> None:
    raw = bytes(range(256)) * 750  # 4 s
    config = SessionConfig()

    def heard(size: int) -> tuple[bytes, bytes, int]:
        reader = ClientEvents(rules(GA))
        events = [
            event
            for start in range(0, len(raw), size)
            for event in reader.read(
                json.dumps(
                    {"type": "input_audio_buffer.append", "audio": b64encode(raw[start : start + size]).decode()}
                ),
                config,
            )
        ]
        appends = [event for event in events if isinstance(event, ask.AppendAudio)]
        return b"".join(a.pcm for a in appends), b"".join(a.raw for a in appends), len(appends)

    in_one, in_frames = heard(len(raw)), heard(960)
    assert in_one[:2] == in_frames[:2]
    assert (in_one[2], in_frames[2]) == (4, 200)


BAD_AUDIO = {
    "no base64": "!!!!",
    "not padded": "AAA",
    "not ASCII": "äöü=",
    "space within": "AA AA",
    "empty": "",
    "half a sample": "AAAA",
}


@DIALECTS
@pytest.mark.parametrize("audio", BAD_AUDIO.values(), ids=list(BAD_AUDIO))
def test_bad_audio_is_named(dialect: Dialect, audio: str) -> None:
    error = refused(dialect, {"type": "input_audio_buffer.append", "audio": audio, "event_id": "e"})
    assert (error.code, error.param, error.event_id) == ("invalid_value", "audio", "e")
    assert "Expected base64-encoded audio bytes" in error.message


def test_single_bytes_are_whole_samples_of_g711() -> None:
    config = SessionConfig(input_format=AudioFormat("pcmu", 8_000))
    assert asked(GA, {"type": "input_audio_buffer.append", "audio": "AAAA"}, config)


# -- items ------------------------------------------------------------------------------------------------------------


def create(item: Any, **more: Any) -> dict[str, Any]:
    """Return the event that adds *item*."""
    return {"type": "conversation.item.create", "item": item, **more}


@DIALECTS
@pytest.mark.parametrize(("role", "part", "meant"), PARTS, ids=[f"{role} {part}"[:60] for role, part, _ in PARTS])
def test_parts_of_messages(dialect: Dialect, role: str, part: Any, meant: Part) -> None:
    read = asked(dialect, create({"type": "message", "role": role, "id": "mine", "content": [part]}))
    assert read == ask.CreateItem(Item("mine", "message", role, parts=[meant]))  # type: ignore[arg-type]


@DIALECTS
def test_calls_and_their_outputs(dialect: Dialect) -> None:
    call = {"type": "function_call", "id": "f", "call_id": "c", "name": "n", "arguments": "{}"}
    output = {"type": "function_call_output", "id": "o", "call_id": "c", "output": ""}
    assert asked(dialect, create(call)) == ask.CreateItem(
        Item("f", "function_call", call_id="c", name="n", arguments="{}")
    )
    assert asked(dialect, create(output)) == ask.CreateItem(Item("o", "function_call_output", call_id="c"))


def test_ids_that_are_missing_are_made() -> None:
    read = asked(GA, create({"type": "function_call", "name": "n", "arguments": "{}", "role": None}))
    assert isinstance(read, ask.CreateItem)
    assert (read.item.id[:5], read.item.call_id[:5]) == ("item_", "call_")
    assert max(len(read.item.id), len(read.item.call_id)) <= 32


@pytest.mark.parametrize(("given", "meant"), [(None, None), ("", None), ("root", "root"), ("i", "i")])
def test_previous_item(given: str | None, meant: str | None) -> None:
    read = asked(GA, create(USER, previous_item_id=given))
    assert isinstance(read, ask.CreateItem)
    assert read.previous_item_id == meant


# -- responses --------------------------------------------------------------------------------------------------------


def test_overrides_are_for_one_response_ga() -> None:
    session = SessionConfig(response=ResponseConfig(instructions="old", tools=(Tool("a"),)))
    overrides = {
        "output_modalities": ["text"],
        "instructions": "new",
        "audio": {"output": {"voice": {"id": "slt"}, "format": {"type": "audio/pcmu"}}},
        "tools": [],
        "tool_choice": "none",
        "max_output_tokens": 7,
        "temperature": 0.7,
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low"},
        "input": [USER],
    }
    read = asked(GA, {"type": "response.create", "response": overrides}, session)
    assert isinstance(read, ask.CreateResponse)
    assert read.config == ResponseConfig(
        "text", "new", "slt", 1.0, AudioFormat("pcmu", 8_000), (), ToolChoice("none"), 7
    )
    assert read.input is not None
    assert isinstance(read.input[0], Item)


@pytest.mark.parametrize("limit", ["max_output_tokens", "max_response_output_tokens"])
def test_overrides_are_for_one_response_beta(limit: str) -> None:
    overrides = {
        "modalities": ["text", "audio"],
        "voice": "slt",
        "output_audio_format": "g711_alaw",
        "temperature": 0.7,
        limit: 9,
    }
    read = asked(BETA, {"type": "response.create", "response": overrides})
    assert isinstance(read, ask.CreateResponse)
    assert read.config == ResponseConfig(
        "audio", voice="slt", output_format=AudioFormat("pcma", 8_000), max_output_tokens=9, temperature=0.7
    )


def test_a_choice_of_tool_whose_tool_is_taken_away_is_open_again() -> None:
    session = SessionConfig(response=ResponseConfig(tools=(Tool("a"),), tool_choice=ToolChoice("function", "a")))
    read = asked(GA, {"type": "response.create", "response": {"tools": []}}, session)
    assert isinstance(read, ask.CreateResponse)
    assert read.config.tool_choice == ToolChoice("auto")


# -- what is wrong ------------------------------------------------------------------------------------------------------

A = "input_audio_buffer.append"
T = "conversation.item.truncate"
R = "response.create"
TOO_LONG = "string_above_max_length"
MISSING, TYPE, VALUE, UNKNOWN = "missing_required_parameter", "invalid_type", "invalid_value", "unknown_parameter"

WRONG: list[tuple[Any, str, str | None, str]] = [
    ("", "invalid_json", None, "JSON"),
    ("{", "invalid_json", None, "JSON"),
    ("[" * 100_000, "invalid_json", None, "JSON"),
    ('{"type":"\\ud800"}', "invalid_json", None, "JSON"),
    ("[]", "invalid_json", None, "object"),
    ("null", "invalid_json", None, "object"),
    ('"x"', "invalid_json", None, "object"),
    ({}, MISSING, "type", "type"),
    ({"type": None}, MISSING, "type", "type"),
    ({"type": 5}, TYPE, "type", "type"),
    ({"type": "session.upgrade"}, VALUE, "type", "Supported values are: 'session.update'"),
    ({"type": "x" * 100_000}, VALUE, "type", "Supported values are"),
    ({"type": "output_audio_buffer.clear"}, "invalid_event_for_transport", None, "WebRTC"),
    ({"type": "input_audio_buffer.commit", "event_id": 7}, TYPE, "event_id", "expected a string"),
    ({"type": "input_audio_buffer.commit", "event_id": "x" * 513}, TOO_LONG, "event_id", "maximum length 512"),
    ({"type": A, "audio": AUDIO, "event_id": "x" * 513}, TOO_LONG, "event_id", "maximum length 512"),
    ({"type": A}, MISSING, "audio", "Missing required parameter: 'audio'."),
    ({"type": A, "audio": 5}, TYPE, "audio", "expected a string, but got an integer"),
    ({"type": "conversation.item.retrieve"}, MISSING, "item_id", "item_id"),
    ({"type": "conversation.item.delete", "item_id": 1}, TYPE, "item_id", "a string"),
    ({"type": T, "content_index": 0, "audio_end_ms": 1}, MISSING, "item_id", "item_id"),
    ({"type": T, "item_id": "i", "audio_end_ms": 1}, MISSING, "content_index", "content_index"),
    ({"type": T, "item_id": "i", "content_index": 0}, MISSING, "audio_end_ms", "audio_end_ms"),
    ({"type": T, "item_id": "i", "content_index": 0, "audio_end_ms": "1"}, TYPE, "audio_end_ms", "an integer"),
    ({"type": T, "item_id": "i", "content_index": 0, "audio_end_ms": 1.5}, TYPE, "audio_end_ms", "a decimal"),
    ({"type": T, "item_id": "i", "content_index": True, "audio_end_ms": 1}, TYPE, "content_index", "a boolean"),
    ({"type": T, "item_id": "i", "content_index": 0, "audio_end_ms": -1}, "integer_below_min_value", "audio_end_ms", ">= 0"),
    (create(None), MISSING, "item", "item"),
    (create([]), TYPE, "item", "expected an object, but got an array"),
    (create({}), MISSING, "item.type", "item.type"),
    (create({"type": "item_reference", "id": "i"}), VALUE, "item.type", "Supported values are"),
    (create({"type": "mcp_call"}), VALUE, "item.type", "Supported values are"),
    (create({**USER, "id": "x" * 33}), TOO_LONG, "item.id", "maximum length 32"),
    (create({**USER, "colour": 1}), UNKNOWN, "item.colour", "Unknown parameter: 'item.colour'."),
    (create({**USER, "call_id": "c"}), UNKNOWN, "item.call_id", "Unknown parameter"),
    (create({**USER, "role": None}), MISSING, "item.role", "item.role"),
    (create({**USER, "role": "bot"}), VALUE, "item.role", "Supported values are: 'system', 'user', 'assistant'"),
    (create({**USER, "content": None}), MISSING, "item.content", "item.content"),
    (create({**USER, "content": "hi"}), TYPE, "item.content", "an array"),
    (create({**USER, "content": ["hi"]}), TYPE, "item.content[0]", "an object"),
    (create({**USER, "content": [{}]}), MISSING, "item.content[0].type", "type"),
    (create({**USER, "content": [{"type": "output_text"}]}), VALUE, "item.content[0].type", "Supported values are"),
    (create({**USER, "content": [{"type": "input_text"}]}), MISSING, "item.content[0].text", "text"),
    (create({**USER, "content": [*USER["content"], {"type": "input_text", "text": 1}]}), TYPE, "item.content[1].text", ""),
    (create({**USER, "content": [{"type": "input_text", "text": "", "x": 1}]}), UNKNOWN, "item.content[0].x", ""),
    (create({**USER, "content": [{"type": "input_text", "text": "x" * 600_000}]}), TOO_LONG, "item.content[0].text", ""),
    (create({**USER, "content": [{"type": "input_audio"}]}), MISSING, "item.content[0].audio", ""),
    (create({**USER, "content": [{"type": "input_audio", "audio": "?"}]}), VALUE, "item.content[0].audio", "base64"),
    (create({**USER, "content": [{"type": "input_image"}]}), MISSING, "item.content[0].image_url", ""),
    (create({**USER, "content": [{"type": "input_image", "image_url": "http://x/y.png"}]}), VALUE, "item.content[0].image_url", "data URI"),
    (create({**USER, "content": [{"type": "input_image", "image_url": "data:image/png;base64,?"}]}), VALUE, "item.content[0].image_url", "base64"),
    (create({**USER, "content": [{"type": "input_image", "image_url": PNG, "detail": "max"}]}), VALUE, "item.content[0].detail", "Supported"),
    (create({**USER, "role": "system", "content": [{"type": "input_audio", "audio": AUDIO}]}), VALUE, "item.content[0].type", "'input_text'"),
    (create({**USER, "role": "assistant", "content": [{"type": "output_audio", "transcript": "x"}]}), MISSING, "item.content[0].text", "item.content[0].text"),
    (create({"type": "function_call", "arguments": "{}"}), MISSING, "item.name", ""),
    (create({"type": "function_call", "name": "n"}), MISSING, "item.arguments", ""),
    (create({"type": "function_call", "name": "n", "arguments": {}}), TYPE, "item.arguments", "a string"),
    (create({"type": "function_call_output", "output": ""}), MISSING, "item.call_id", ""),
    (create({"type": "function_call_output", "call_id": "c"}), MISSING, "item.output", ""),
    (create(USER, previous_item_id=5), TYPE, "previous_item_id", ""),
    ({"type": R, "response": []}, TYPE, "response", "an object"),
    ({"type": R, "response": {"foo": 1}}, UNKNOWN, "response.foo", "Unknown parameter: 'response.foo'."),
    ({"type": R, "response": {"conversation": "both"}}, VALUE, "response.conversation", "'auto', 'none'"),
    ({"type": R, "response": {"input": {}}}, TYPE, "response.input", "an array"),
    ({"type": R, "response": {"input": [USER, {"type": "item_reference"}]}}, MISSING, "response.input[1].id", ""),
    ({"type": R, "response": {"input": [{"type": "message", "role": "user", "content": [{"type": "x"}]}]}}, VALUE, "response.input[0].content[0].type", ""),
    ({"type": R, "response": {"max_output_tokens": 0}}, "integer_below_min_value", "response.max_output_tokens", ""),
    ({"type": R, "response": {"max_output_tokens": 4097}}, "integer_above_max_value", "response.max_output_tokens", ""),
    ({"type": R, "response": {"tool_choice": {"type": "function", "name": "x"}}}, VALUE, "response.tool_choice", "no tool"),
    ({"type": R, "response": {"prompt": {"id": "p"}}}, VALUE, "response.prompt", ""),
    ({"type": R, "response": {"metadata": {str(i): "" for i in range(17)}}}, VALUE, "response.metadata", "16"),
    ({"type": R, "response": {"metadata": {"x" * 65: ""}}}, TOO_LONG, "response.metadata", "64"),
    ({"type": R, "response": {"metadata": {"k": "x" * 513}}}, TOO_LONG, "response.metadata.k", "512"),
    ({"type": R, "response": {"metadata": {"k": 1}}}, VALUE, "response.metadata.k", ""),
    ({"type": "session.update"}, MISSING, "session", "session"),
    ({"type": "session.update", "session": "x"}, TYPE, "session", "expected an object, but got a string"),
]  # fmt: skip


@DIALECTS
@pytest.mark.parametrize(("event", "code", "param", "says"), WRONG, ids=[str(row[0])[:70] for row in WRONG])
def test_what_is_wrong_is_named(dialect: Dialect, event: Any, code: str, param: str | None, says: str) -> None:
    error = refused(dialect, event)
    assert (error.code, error.param) == (code, param)
    assert says in error.message
    assert len(error.message) < 1000


@DIALECTS
def test_an_error_names_the_event(dialect: Dialect) -> None:
    assert refused(dialect, {"type": "no.such", "event_id": "e-1"}).event_id == "e-1"
    assert refused(dialect, {"event_id": "e-2"}).event_id == "e-2"
    assert refused(dialect, create({}, event_id="e-3")).event_id == "e-3"
    assert refused(dialect, "{").event_id is None


def test_binary_frames_are_answered() -> None:
    with pytest.raises(EventError) as caught:
        ClientEvents(rules(GA)).read(b"\x00\x01", SessionConfig())
    assert caught.value.code == "invalid_json"


def test_an_error_becomes_a_notice_of_all_its_parts() -> None:
    notice = refused(GA, create({}, event_id="e")).notice()
    assert (notice.code, notice.param, notice.event_id, notice.type) == (
        MISSING,
        "item.type",
        "e",
        "invalid_request_error",
    )
    assert notice.message


def test_transcription_sessions_give_no_responses() -> None:
    assert refused(GA, {"type": R}, TRANSCRIBING).code == "invalid_value"


def test_other_dialects_events_are_unknown() -> None:
    event = {"type": "transcription_session.update", "session": {}}
    assert refused(GA, event).param == "type"
    assert isinstance(asked(BETA, event), ask.UpdateSession)


def test_the_type_of_a_session_is_fixed_once_audio_came() -> None:
    reader = ClientEvents(rules(GA))
    update = json.dumps({"type": "session.update", "session": {"type": "transcription"}})
    (event,) = reader.read(update, SessionConfig())
    assert isinstance(event, ask.UpdateSession)
    assert event.config.type == "transcription"
    list(reader.read(json.dumps({"type": A, "audio": AUDIO}), SessionConfig()))
    with pytest.raises(EventError) as caught:
        reader.read(update, SessionConfig())
    assert (caught.value.code, caught.value.param) == (VALUE, "session.type")
