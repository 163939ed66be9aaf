"""Every notice in both dialects: names, keys, sizes; and that stock clients' own models accept them."""

# ruff: noqa: E501 - the tables have one row a line

import json
from base64 import b64decode
from typing import Any

import pytest

from gateway.core.realtime import notices as tell
from gateway.core.realtime.config import AudioFormat, ResponseConfig, SessionConfig
from gateway.core.realtime.items import Item, Part
from gateway.core.response import Status
from gateway.protocols.realtime.dialect import BETA, GA, Dialect
from gateway.protocols.realtime.server_events import ServerEvents
from tests.gateway.protocols.realtime.frames import DIALECTS

MIB = 1024 * 1024
USER = Item("u", "message", "user", parts=[Part("input_audio", None, b"\1\0" * 240, 10.0)])
ANSWER = Item("a", "message", "assistant", parts=[Part("output_audio", "Hi.", b"\1\0" * 240, 10.0)])
TEXT = Item("t", "message", "assistant", "incomplete", [Part("output_text", "Hi")])
CALL = Item("f", "function_call", call_id="c", name="n", arguments="{}")
OUTPUT = Item("o", "function_call_output", call_id="c", output="")
BEGUN = tell.ResponseView("r", Status.IN_PROGRESS, ResponseConfig(metadata={"k": "v"}), "core's")
DONE = tell.ResponseView(
    "r", Status.COMPLETED, ResponseConfig(), "core's", (ANSWER, CALL), tell.Usage(26, 14, 0, 5, 4, 17)
)
AT = ("r", "a", 0)

ROWS: list[tuple[Any, str, str, dict[str, Any]]] = [
    (tell.SpeechStarted("u", 5), "input_audio_buffer.speech_started", "=", {"item_id": "u", "audio_start_ms": 5}),
    (tell.SpeechStopped("u", 9), "input_audio_buffer.speech_stopped", "=", {"item_id": "u", "audio_end_ms": 9}),
    (tell.Committed("u", None), "input_audio_buffer.committed", "=", {"item_id": "u", "previous_item_id": None}),
    (tell.Cleared(), "input_audio_buffer.cleared", "=", {}),
    (
        tell.TimeoutTriggered("u", 1, 2),
        "input_audio_buffer.timeout_triggered",
        "",
        {"item_id": "u", "audio_start_ms": 1, "audio_end_ms": 2},
    ),
    (tell.ItemTruncated("a", 0, 7), "conversation.item.truncated", "=", {"item_id": "a", "content_index": 0, "audio_end_ms": 7}),
    (tell.ItemDeleted("a"), "conversation.item.deleted", "=", {"item_id": "a"}),
    (
        tell.TranscriptionDelta("u", "x"),
        "conversation.item.input_audio_transcription.delta",
        "=",
        {"item_id": "u", "content_index": 0, "delta": "x"},
    ),
    (
        tell.TranscriptionCompleted("u", "x", 1.4),
        "conversation.item.input_audio_transcription.completed",
        "=",
        {
            "item_id": "u",
            "content_index": 0,
            "transcript": "x",
            "logprobs": None,
            "usage": {"type": "duration", "seconds": 1.4},
        },
    ),
    (
        tell.TranscriptionFailed("u", "why"),
        "conversation.item.input_audio_transcription.failed",
        "=",
        {
            "item_id": "u",
            "content_index": 0,
            "error": {"type": "server_error", "code": "asr_failed", "message": "why"},
        },
    ),
    (
        tell.PartAdded(*AT, "audio"),
        "response.content_part.added",
        "=",
        {"part": {"type": "audio", "transcript": ""}},
    ),
    (tell.PartAdded(*AT, "text"), "response.content_part.added", "=", {"part": {"type": "text", "text": ""}}),
    (tell.PartDone(*AT, "audio", "x"), "response.content_part.done", "=", {"part": {"type": "audio", "transcript": "x"}}),
    (tell.PartDone(*AT, "text", "x"), "response.content_part.done", "=", {"part": {"type": "text", "text": "x"}}),
    (tell.TextDelta(*AT, "text", '"ü\n'), "response.output_text.delta", "response.text.delta", {"delta": '"ü\n'}),
    (
        tell.TextDelta(*AT, "audio", "x"),
        "response.output_audio_transcript.delta",
        "response.audio_transcript.delta",
        {"delta": "x"},
    ),
    (tell.TextDone(*AT, "text", "x"), "response.output_text.done", "response.text.done", {"text": "x"}),
    (
        tell.TextDone(*AT, "audio", "x"),
        "response.output_audio_transcript.done",
        "response.audio_transcript.done",
        {"transcript": "x"},
    ),
    (tell.AudioDelta(*AT, b"abc"), "response.output_audio.delta", "response.audio.delta", {"delta": "YWJj"}),
    (tell.AudioDone(*AT), "response.output_audio.done", "response.audio.done", {}),
    (
        tell.ArgumentsDelta("r", "f", 1, "c", "{"),
        "response.function_call_arguments.delta",
        "=",
        {"response_id": "r", "item_id": "f", "output_index": 1, "call_id": "c", "delta": "{"},
    ),
    (
        tell.ArgumentsDone("r", "f", 1, "c", "n", "{}"),
        "response.function_call_arguments.done",
        "=",
        {"response_id": "r", "item_id": "f", "output_index": 1, "call_id": "c", "name": "n", "arguments": "{}"},
    ),
    (
        tell.Rejected("c", "m", "p", "e"),
        "error",
        "=",
        {"error": {"type": "invalid_request_error", "code": "c", "message": "m", "param": "p", "event_id": "e"}},
    ),
    (
        tell.Rejected(None, "m", type="server_error"),
        "error",
        "=",
        {"error": {"type": "server_error", "code": None, "message": "m", "param": None, "event_id": None}},
    ),
    (
        tell.SessionOver(tell.Rejected("c", "m"), 1001),
        "error",
        "=",
        {"error": {"type": "invalid_request_error", "code": "c", "message": "m", "param": None, "event_id": None}},
    ),
]  # fmt: skip
PART_EVENTS = (tell.PartAdded, tell.PartDone, tell.TextDelta, tell.TextDone, tell.AudioDelta, tell.AudioDone)


def writer(dialect: Dialect) -> ServerEvents:
    return ServerEvents(dialect, "sess_1", "conv_1", 1_790_000_000)


def written(dialect: Dialect, notice: tell.Notice) -> dict[str, Any]:
    """Return the one event of *notice* without its id."""
    (frame,) = writer(dialect).write(notice)
    event: dict[str, Any] = json.loads(frame)
    assert len(event.pop("event_id")) <= 32
    return event


@pytest.mark.parametrize(("notice", "ga", "beta", "fields"), ROWS, ids=[type(row[0]).__name__ for row in ROWS])
def test_each_notice_is_one_event(notice: Any, ga: str, beta: str, fields: dict[str, Any]) -> None:
    if isinstance(notice, PART_EVENTS):
        fields = {"response_id": "r", "item_id": "a", "output_index": 0, "content_index": 0, **fields}
    assert written(GA, notice) == {"type": ga, **fields}
    if beta:
        assert written(BETA, notice) == {"type": ga if beta == "=" else beta, **fields}
    else:
        assert writer(BETA).write(notice) == []


ITEMS = [
    (
        USER,
        {"type": "message", "status": "completed", "role": "user", "content": [{"type": "input_audio", "transcript": None}]},
        {},
    ),
    (
        ANSWER,
        {"type": "message", "status": "completed", "role": "assistant", "content": [{"type": "output_audio", "transcript": "Hi."}]},
        {"content": [{"type": "audio", "transcript": "Hi."}]},
    ),
    (
        TEXT,
        {"type": "message", "status": "incomplete", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
        {"content": [{"type": "text", "text": "Hi"}]},
    ),
    (
        Item("s", "message", "assistant", parts=[Part("output_audio", None)]),
        {"type": "message", "status": "completed", "role": "assistant", "content": [{"type": "output_audio", "transcript": ""}]},
        {"content": [{"type": "audio", "transcript": ""}]},
    ),
    (
        Item("i", "message", "user", parts=[Part("input_image", image_url="data:x")]),
        {"type": "message", "status": "completed", "role": "user", "content": [{"type": "input_image", "image_url": "data:x", "detail": "auto"}]},
        {},
    ),
    (CALL, {"type": "function_call", "status": "completed", "call_id": "c", "name": "n", "arguments": "{}"}, {}),
    (OUTPUT, {"type": "function_call_output", "status": "completed", "call_id": "c", "output": ""}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("item", "ga", "beta"), ITEMS, ids=[item.id for item, _, _ in ITEMS])
def test_items_have_the_shape_of_their_dialect(item: Item, ga: dict[str, Any], beta: dict[str, Any]) -> None:
    head = {"id": item.id, "object": "realtime.item"}
    body = {"previous_item_id": "p", "item": head | ga}
    assert written(GA, tell.ItemAdded(item, "p")) == {"type": "conversation.item.added", **body}
    assert written(GA, tell.ItemDone(item, "p")) == {"type": "conversation.item.done", **body}
    body = {"previous_item_id": "p", "item": head | ga | beta}
    assert written(BETA, tell.ItemAdded(item, "p")) == {"type": "conversation.item.created", **body}
    assert writer(BETA).write(tell.ItemDone(item, "p")) == []
    for notice, name in ((tell.OutputItemAdded, "added"), (tell.OutputItemDone, "done")):
        event = written(BETA, notice("r", 2, item))
        assert event.pop("item") == head | ga | beta
        assert event == {"type": f"response.output_item.{name}", "response_id": "r", "output_index": 2}


@pytest.mark.parametrize(
    ("dialect", "form", "shown"),
    [
        (GA, None, {"type": "audio/pcm", "rate": 24000}),
        (BETA, None, "pcm16"),
        (GA, AudioFormat("pcmu", 8_000), {"type": "audio/pcmu"}),
        (BETA, AudioFormat("pcmu", 8_000), "g711_ulaw"),
    ],
)
def test_audio_comes_back_with_its_format(dialect: Dialect, form: AudioFormat | None, shown: Any) -> None:
    item = Item("u", "message", "user", parts=[Part("input_audio", "x", b"abcd", format=form)])
    (part,) = written(dialect, tell.ItemRetrieved(item))["item"]["content"]
    assert (part["format"], b64decode(part["audio"]), part["transcript"]) == (shown, b"abcd", "x")


# -- responses ----------------------------------------------------------------------------------------------------------

BOTH = {
    "id",
    "object",
    "status",
    "status_details",
    "output",
    "conversation_id",
    "metadata",
    "usage",
    "max_output_tokens",
}
ENDS: list[tuple[Status, dict[str, Any], Any]] = [
    (Status.COMPLETED, {}, None),
    (Status.CANCELLED, {"reason": "turn_detected"}, {"type": "cancelled", "reason": "turn_detected"}),
    (Status.INCOMPLETE, {"reason": "max_output_tokens"}, {"type": "incomplete", "reason": "max_output_tokens"}),
    (
        Status.FAILED,
        {"error_code": "llm_unavailable", "error_message": "gone"},
        {"type": "failed", "error": {"type": "server_error", "code": "llm_unavailable", "message": "gone"}},
    ),
]


def test_a_response_has_every_key_from_the_beginning() -> None:
    ga = written(GA, tell.ResponseCreated(BEGUN))["response"]
    beta = written(BETA, tell.ResponseCreated(BEGUN))["response"]
    assert set(ga) == BOTH | {"output_modalities", "audio"}
    assert set(beta) == BOTH | {"modalities", "voice", "output_audio_format", "temperature"}
    for response in (ga, beta):
        assert (response["status"], response["usage"], response["status_details"]) == ("in_progress", None, None)
        assert (response["output"], response["metadata"]) == ([], {"k": "v"})
        assert response["conversation_id"] == "conv_1"


@DIALECTS
@pytest.mark.parametrize(("status", "facts", "details"), ENDS, ids=[end[0].value for end in ENDS])
def test_every_end_has_details_and_usage(dialect: Dialect, status: Status, facts: dict[str, Any], details: Any) -> None:
    view = tell.ResponseView("r", status, ResponseConfig(), None, **facts)
    response = written(dialect, tell.ResponseDone(view))["response"]
    assert (response["status"], response["status_details"]) == (status.value, details)
    assert response["usage"]["total_tokens"] == 0
    assert response["conversation_id"] is None


def test_usage_adds_up() -> None:
    usage = written(GA, tell.ResponseDone(DONE))["response"]["usage"]
    assert (usage["total_tokens"], usage["input_tokens"], usage["output_tokens"]) == (61, 40, 21)
    assert usage["input_token_details"]["cached_tokens_details"]["text_tokens"] == 5


# -- sessions, ids, sizes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "kind", "names"),
    [
        (GA, "realtime", ["session.created", "session.updated"]),
        (GA, "transcription", ["session.created", "session.updated"]),
        (BETA, "realtime", ["session.created", "conversation.created", "session.updated"]),
        (BETA, "transcription", ["transcription_session.created", "transcription_session.updated"]),
    ],
)
def test_sessions_are_announced(dialect: Dialect, kind: Any, names: list[str]) -> None:
    config, writes = SessionConfig(type=kind), writer(dialect)
    frames = [*writes.opening(config), *writes.write(tell.SessionUpdated(config))]
    assert [json.loads(frame)["type"] for frame in frames] == names


@DIALECTS
def test_every_event_has_an_id_of_its_own(dialect: Dialect) -> None:
    writes = writer(dialect)
    frames = [frame for row in ROWS * 3 for frame in writes.write(row[0])]
    assert len({json.loads(frame)["event_id"] for frame in frames}) == len(frames)


@DIALECTS
def test_long_audio_comes_in_several_deltas(dialect: Dialect) -> None:
    audio = bytes(range(256)) * 12_000
    frames = writer(dialect).write(tell.AudioDelta(*AT, audio))
    pieces = [b64decode(json.loads(frame)["delta"]) for frame in frames]
    assert b"".join(pieces) == audio
    assert all(len(piece) % 2 == 0 for piece in pieces)
    assert max(map(len, frames)) < 64_000


HUGE = "\x01" * MIB
LARGE = [
    tell.ItemRetrieved(Item("u", "message", "user", parts=[Part("input_audio", "x", bytes(4 * MIB))] * 3)),
    tell.ItemAdded(Item("u", "message", "user", parts=[Part("input_image", image_url="x" * 4 * MIB)]), None),
    tell.ItemAdded(Item("u", "message", "user", parts=[Part("input_text", "ü" * 100_000)] * 20), None),
    tell.ItemAdded(Item("o", "function_call_output", call_id="c", output=HUGE), None),
    tell.SessionUpdated(SessionConfig(response=ResponseConfig(instructions=HUGE))),
    tell.TextDone(*AT, "text", HUGE),
]


@DIALECTS
@pytest.mark.parametrize("notice", LARGE, ids=[type(notice).__name__ for notice in LARGE])
def test_no_frame_reaches_a_mebibyte(dialect: Dialect, notice: tell.Notice) -> None:
    (frame,) = writer(dialect).write(notice)
    assert len(frame.encode()) < MIB
    assert json.loads(frame)["type"]


# -- stock clients ------------------------------------------------------------------------------------------------------

EVERYTHING: list[Any] = [
    *(row[0] for row in ROWS),
    *(tell.ItemAdded(item, None) for item, _, _ in ITEMS),
    *(tell.ItemDone(item, None) for item, _, _ in ITEMS),
    tell.ItemRetrieved(USER),
    tell.OutputItemAdded("r", 0, ANSWER),
    tell.OutputItemDone("r", 0, CALL),
    tell.ResponseCreated(BEGUN),
    tell.ResponseDone(DONE),
    tell.SessionUpdated(SessionConfig(model="gpt-realtime")),
]


@pytest.mark.parametrize("notice", EVERYTHING, ids=[type(notice).__name__ for notice in EVERYTHING])
@pytest.mark.parametrize(
    ("dialect", "module"), [(GA, "openai.types.realtime"), (BETA, "openai.types.beta.realtime")], ids=["ga", "beta"]
)
def test_the_models_of_the_openai_package_accept_it(dialect: Dialect, module: str, notice: Any) -> None:
    pydantic = pytest.importorskip("pydantic")
    types = pytest.importorskip(module)
    if dialect is BETA and "input_image" in str(notice):
        pytest.skip("beta's models know no images")
    server_event = pydantic.TypeAdapter(types.RealtimeServerEvent)
    writes = writer(dialect)
    session = SessionConfig(model="gpt-realtime")  # beta's model lists the names
    for frame in [*writes.opening(session), *writes.write(notice)]:
        server_event.validate_json(frame)
