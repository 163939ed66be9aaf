"""Anything may be sent: it is an event that is understood, or an error that names it; nothing else ever happens."""

import json
from base64 import b64encode
from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.realtime.client_events import ClientEvent, UpdateSession
from gateway.core.realtime.config import AudioFormat, SessionConfig, TurnDetection
from gateway.protocols.realtime.client_events import ClientEvents
from gateway.protocols.realtime.dialect import BETA, CLIENT_EVENTS, GA, Dialect
from gateway.protocols.realtime.errors import EventError
from gateway.protocols.realtime.server_events import ServerEvents
from tests.gateway.protocols.realtime.frames import AUDIO, PNG, at_once, rules, shown

dialects = st.sampled_from([GA, BETA])
configs = st.sampled_from(
    [
        SessionConfig(),
        SessionConfig(type="transcription"),
        SessionConfig(input_format=AudioFormat("pcmu", 8_000), turn_detection=None),
        SessionConfig(turn_detection=TurnDetection("semantic_vad"), noise_reduction={"type": "near_field"}),
    ]
)
# Words that mean something somewhere, so that random documents get past the first check.
WORDS = """
type session audio input output format rate item id role content text transcript message user assistant system
input_text input_audio input_image function_call function_call_output call_id name arguments tools tool_choice
function parameters turn_detection server_vad semantic_vad threshold eagerness voice alloy speed model realtime
transcription instructions response conversation none auto metadata item_reference modalities output_modalities
max_output_tokens inf audio/pcm audio/pcmu pcm16 event_id item_id content_index audio_end_ms prompt truncation
retention_ratio noise_reduction near_field strength image_url detail temperature
"""
words = st.sampled_from(WORDS.split())
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | words
    | st.sampled_from([AUDIO, PNG, "", "root", 10**30, -1, 0, 1e300])
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=8), inner, max_size=6),
    max_leaves=25,
)
kinds = st.sampled_from([*CLIENT_EVENTS, "transcription_session.update"])
events = st.fixed_dictionaries(
    {"type": kinds},
    optional={
        "session": documents,
        "item": documents,
        "response": documents,
        "audio": scalars,
        "event_id": scalars,
        "item_id": scalars,
        "previous_item_id": scalars,
        "content_index": scalars,
        "audio_end_ms": scalars,
        "response_id": scalars,
    },
)
VALID: list[dict[str, Any]] = [
    {"type": "session.update", "session": shown(GA, SessionConfig(model="m"))},
    {"type": "session.update", "session": shown(BETA, SessionConfig(model="m"))},
    {
        "type": "conversation.item.create",
        "previous_item_id": "root",
        "item": {
            "type": "message",
            "role": "user",
            "id": "x",
            "content": [
                {"type": "input_text", "text": "x"},
                {"type": "input_audio", "audio": AUDIO, "transcript": "x"},
                {"type": "input_image", "image_url": PNG, "detail": "low"},
            ],
        },
    },
    {
        "type": "response.create",
        "response": {
            "conversation": "none",
            "instructions": "x",
            "metadata": {"k": "v"},
            "tools": [{"type": "function", "name": "n", "parameters": {}}],
            "tool_choice": {"type": "function", "name": "n"},
            "input": [
                {"type": "item_reference", "id": "i"},
                {"type": "function_call_output", "call_id": "c", "output": ""},
            ],
        },
    },
    {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 5},
    {"type": "input_audio_buffer.append", "audio": AUDIO, "event_id": "e"},
]


def check(dialect: Dialect, frame: str | bytes, config: SessionConfig, event_id: object = None) -> None:
    """Let a connection read *frame*, and write what comes of it. What is read at once is the same."""
    writes = ServerEvents(dialect, "sess_1", "conv_1", 1)
    refused: EventError | None = None
    read: list[ClientEvent] = []
    try:
        read = list(ClientEvents(rules(dialect)).read(frame, config))
    except EventError as error:
        refused = error
    if refused is not None:
        assert refused.event_id == (event_id if isinstance(event_id, str) and len(event_id) <= 512 else None)
        (answer,) = writes.write(refused.notice())
        assert json.loads(answer)["error"]["message"]
    else:
        assert read
    for event in read:
        if isinstance(event, UpdateSession):
            assert writes.opening(event.config)
    if isinstance(frame, str):
        appended = at_once(dialect, frame, config)
        assert appended is None or [appended] == read


@given(dialects, st.text(max_size=200) | st.binary(max_size=50), configs)
def test_any_frame(dialect: Dialect, frame: str | bytes, config: SessionConfig) -> None:
    check(dialect, frame, config)


@given(dialects, documents, configs)
def test_any_document(dialect: Dialect, document: Any, config: SessionConfig) -> None:
    event_id = document.get("event_id") if isinstance(document, dict) else None
    check(dialect, json.dumps(document), config, event_id)


@given(dialects, events, configs)
def test_any_event(dialect: Dialect, event: dict[str, Any], config: SessionConfig) -> None:
    check(dialect, json.dumps(event), config, event.get("event_id"))


@given(dialects, st.binary(max_size=8_000), st.text(max_size=2), configs)
def test_any_audio(dialect: Dialect, audio: bytes, more: str, config: SessionConfig) -> None:
    frame = {"type": "input_audio_buffer.append", "audio": b64encode(audio).decode() + more}
    check(dialect, json.dumps(frame), config)
    check(dialect, json.dumps(frame, ensure_ascii=False), config)


@given(dialects, configs, st.sampled_from(VALID), st.data())
def test_any_change_of_a_good_event(
    dialect: Dialect, config: SessionConfig, event: dict[str, Any], data: st.DataObject
) -> None:
    """One place of the event, found by walking down it, holds something else, is gone, or has company."""
    owner: Any = deepcopy(event)
    changed = owner
    while True:
        key = data.draw(st.sampled_from(sorted(owner) if isinstance(owner, dict) else range(len(owner))))
        inner = owner[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        owner = inner
    match data.draw(st.sampled_from(["replace", "remove", "add"])):
        case "replace":
            owner[key] = data.draw(documents)
        case "remove":
            del owner[key]
        case _ if isinstance(owner, dict):
            owner[data.draw(words)] = data.draw(documents)
    check(dialect, json.dumps(changed), config, changed.get("event_id"))
