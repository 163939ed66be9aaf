"""Sessions: what they show, how updates are merged and cleared, and what is refused."""

# ruff: noqa: E501 - the tables have one row a line

from dataclasses import replace
from typing import Any

import pytest

from gateway.core.realtime.config import (
    AudioFormat,
    ResponseConfig,
    SessionConfig,
    Tool,
    ToolChoice,
    Transcription,
    TurnDetection,
)
from gateway.protocols.realtime.dialect import BETA, GA, Dialect
from gateway.protocols.realtime.fields import update_session
from tests.gateway.protocols.realtime.frames import DIALECTS, asked, refused, rules, shown, updated

TOOL = {"type": "function", "name": "lamp", "description": "d", "parameters": {"type": "object", "$schema": "x"}}
SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD = {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True}

GA_SESSION = {
    "type": "realtime",
    "object": "realtime.session",
    "id": "sess_1",
    "model": "m",
    "expires_at": 1,
    "output_modalities": ["audio"],
    "instructions": "",
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "tracing": None,
    "truncation": "auto",
    "prompt": None,
    "include": None,
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": SERVER_VAD,
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
    },
}
BETA_SESSION = {
    "object": "realtime.session",
    "id": "sess_1",
    "model": "m",
    "expires_at": 1,
    "modalities": ["audio", "text"],
    "instructions": "",
    "voice": "alloy",
    "input_audio_format": "pcm16",
    "output_audio_format": "pcm16",
    "input_audio_transcription": None,
    "turn_detection": SERVER_VAD,
    "input_audio_noise_reduction": None,
    "tools": [],
    "tool_choice": "auto",
    "temperature": 0.8,
    "max_response_output_tokens": "inf",
    "speed": 1.0,
    "tracing": None,
    "prompt": None,
    "include": None,
    "client_secret": None,
}
GA_TRANSCRIPTION = {
    "type": "transcription",
    "object": "realtime.transcription_session",
    "id": "sess_1",
    "expires_at": 1,
    "include": None,
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": "w", "language": None, "prompt": ""},
            "noise_reduction": None,
            "turn_detection": {k: v for k, v in SERVER_VAD.items() if "response" not in k},
        }
    },
}
BETA_TRANSCRIPTION = {
    "object": "realtime.transcription_session",
    "id": "sess_1",
    "expires_at": 1,
    "modalities": ["audio", "text"],
    "include": None,
    "input_audio_format": "pcm16",
    "input_audio_transcription": {"model": "w", "language": None, "prompt": ""},
    "input_audio_noise_reduction": None,
    "turn_detection": {k: v for k, v in SERVER_VAD.items() if "response" not in k},
    "client_secret": None,
}
TRANSCRIBING = SessionConfig(type="transcription", model="m", transcription=Transcription("w"))


@pytest.mark.parametrize(
    ("dialect", "config", "wire"),
    [
        (GA, SessionConfig(model="m"), GA_SESSION),
        (BETA, SessionConfig(model="m"), BETA_SESSION),
        (GA, TRANSCRIBING, GA_TRANSCRIPTION),
        (BETA, TRANSCRIBING, BETA_TRANSCRIPTION),
    ],
    ids=["ga", "beta", "ga transcription", "beta transcription"],
)
def test_a_session_shows_every_key(dialect: Dialect, config: SessionConfig, wire: dict[str, Any]) -> None:
    assert shown(dialect, config) == wire


RICH = SessionConfig(
    model="m",
    response=ResponseConfig(
        modality="text",
        instructions="i",
        voice="slt",
        speed=1.25,
        output_format=AudioFormat("pcma", 8_000),
        tools=(Tool("lamp", "d", TOOL["parameters"], TOOL),),  # type: ignore[arg-type]
        tool_choice=ToolChoice("function", "lamp"),
        max_output_tokens=12,
    ),
    input_format=AudioFormat("pcmu", 8_000),
    transcription=Transcription("w", "de", "p", {"model": "w", "language": "de", "prompt": "p", "keywords": ["k"]}),
    turn_detection=TurnDetection("semantic_vad", eagerness="low", create_response=False),
    noise_reduction={"type": "near_field", "strength": 0.5},
    tracing={"workflow_name": "w"},
    prompt={"id": "p"},
    include=["item.input_audio_transcription.logprobs"],
)


@DIALECTS
def test_what_a_session_shows_can_be_sent_back_and_changes_nothing(dialect: Dialect) -> None:
    """Clients fetch the session, change a key and send the whole."""
    config = replace(RICH, response=replace(RICH.response, temperature=0.8 if dialect is BETA else None))
    assert update_session(config, shown(dialect, config), rules(dialect)) == config
    fresh = update_session(SessionConfig(), shown(dialect, config), rules(dialect))
    assert shown(dialect, fresh) == shown(dialect, config)


# -- the same update in both dialects: GA's words, beta's words, what comes of it -----------------------------------------

UPDATES: list[tuple[str, Any, Any, Any]] = [
    ("nothing", {}, {}, {}),
    ("tracing", {"tracing": "auto"}, {"tracing": "auto"}, {"tracing": "auto"}),
    ("model", {"model": "other"}, {"model": "other"}, {"model": "other"}),
    ("read-only", {"id": "x", "object": "y", "expires_at": 5}, {"id": "x", "object": "y", "expires_at": 5}, {}),
    ("modality", {"output_modalities": ["text"]}, {"modalities": ["text"]}, {"response.modality": "text"}),
    ("any order", {"output_modalities": ["audio"]}, {"modalities": ["text", "audio"]}, {}),
    ("limit", {"max_output_tokens": 4096}, {"max_response_output_tokens": 4096}, {"response.max_output_tokens": 4096}),
    (
        "µ-law in",
        {"audio": {"input": {"format": {"type": "audio/pcmu"}}}},
        {"input_audio_format": "g711_ulaw"},
        {"input_format": AudioFormat("pcmu", 8_000)},
    ),
    (
        "A-law out",
        {"audio": {"output": {"format": {"type": "audio/pcma"}}}},
        {"output_audio_format": "g711_alaw"},
        {"response.output_format": AudioFormat("pcma", 8_000)},
    ),
    ("voice", {"audio": {"output": {"voice": "slt"}}}, {"voice": "slt"}, {"response.voice": "slt"}),
    ("alias", {"audio": {"output": {"voice": "cedar"}}}, {"voice": "cedar"}, {"response.voice": "cedar"}),
    ("speed", {"audio": {"output": {"speed": 1}}}, {"speed": 1}, {"response.speed": 1.0}),
    (
        "manual turns",
        {"audio": {"input": {"turn_detection": None}}},
        {"turn_detection": None},
        {"turn_detection": None},
    ),
    (
        "part of a turn's settings",
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 900}}}},
        {"turn_detection": {"type": "server_vad", "silence_duration_ms": 900}},
        {"turn_detection": TurnDetection(silence_duration_ms=900)},
    ),
    (
        "semantic turns",
        {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}},
        {"turn_detection": {"type": "semantic_vad", "threshold": 0.1}},
        {"turn_detection": TurnDetection("semantic_vad")},
    ),
    (
        "transcription",
        {"audio": {"input": {"transcription": {"model": "w", "language": "de"}}}},
        {"input_audio_transcription": {"model": "w", "language": "de"}},
        {"transcription": Transcription("w", "de", "", {"model": "w", "language": "de"})},
    ),
    (
        "noise",
        {"audio": {"input": {"noise_reduction": {"type": "far_field"}}}},
        {"input_audio_noise_reduction": {"type": "far_field"}},
        {"noise_reduction": {"type": "far_field"}},
    ),
    (
        "tools",
        {"tools": [TOOL], "tool_choice": {"type": "function", "name": "lamp"}},
        {"tool_choice": {"type": "function", "name": "lamp"}, "tools": [TOOL]},
        {
            "response.tools": (Tool("lamp", "d", TOOL["parameters"], TOOL),),  # type: ignore[arg-type]
            "response.tool_choice": ToolChoice("function", "lamp"),
        },
    ),
]


def apply(config: SessionConfig, changes: dict[str, Any]) -> SessionConfig:
    """Return *config* with *changes*, whose keys may begin with `response.`."""
    own = {key: value for key, value in changes.items() if "." not in key}
    inner = {key.partition(".")[2]: value for key, value in changes.items() if "." in key}
    return replace(config, **own, response=replace(config.response, **inner))


@pytest.mark.parametrize(("name", "ga", "beta", "changes"), UPDATES, ids=[row[0] for row in UPDATES])
def test_only_what_is_named_changes(name: str, ga: Any, beta: Any, changes: dict[str, Any]) -> None:
    before = SessionConfig(model="m", response=ResponseConfig(instructions="kept"))
    assert updated(GA, ga, before) == apply(before, changes), name
    assert updated(BETA, beta, before) == apply(before, changes), name


CLEARED = [
    ({"instructions": ""}, {"instructions": ""}, {"response.instructions": ""}),
    ({"instructions": None}, {"instructions": None}, {"response.instructions": ""}),
    ({"tools": []}, {"tools": []}, {"response.tools": (), "response.tool_choice": ToolChoice()}),
    ({"tools": None}, {"tools": None}, {"response.tools": (), "response.tool_choice": ToolChoice()}),
    ({"tracing": None}, {"tracing": None}, {"tracing": None}),
    ({"prompt": None}, {"prompt": None}, {"prompt": None}),
    ({"include": None}, {"include": None}, {"include": None}),
    (
        {"audio": {"input": {"transcription": None}}},
        {"input_audio_transcription": None},
        {"transcription": None},
    ),
    (
        {"audio": {"input": {"noise_reduction": None}}},
        {"input_audio_noise_reduction": None},
        {"noise_reduction": None},
    ),
    ({"max_output_tokens": "inf"}, {"max_response_output_tokens": "inf"}, {"response.max_output_tokens": None}),
    ({"audio": {"output": {"speed": None}}}, {"speed": None}, {"response.speed": 1.0}),
    ({"audio": {"output": None}}, {}, {}),
]


@pytest.mark.parametrize(("ga", "beta", "changes"), CLEARED, ids=[str(row[0]) for row in CLEARED])
def test_null_clears(ga: Any, beta: Any, changes: dict[str, Any]) -> None:
    assert updated(GA, ga, RICH) == apply(RICH, changes)
    assert updated(BETA, beta, RICH) == apply(RICH, changes)


def test_a_strength_stays_until_another_is_given() -> None:
    config = updated(GA, {"audio": {"input": {"noise_reduction": {"type": "far_field"}}}}, RICH)
    assert config.noise_reduction == {"type": "far_field", "strength": 0.5}


def test_another_kind_of_turns_begins_with_its_defaults() -> None:
    config = updated(GA, {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.9}}}}, RICH)
    assert config.turn_detection == TurnDetection(threshold=0.9)
    again = updated(GA, {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}, RICH)
    assert again.turn_detection == RICH.turn_detection
    assert shown(GA, SessionConfig(turn_detection=TurnDetection("semantic_vad")))["audio"]["input"][
        "turn_detection"
    ] == (SEMANTIC_VAD)


def test_keys_that_are_shown_only_when_they_were_set() -> None:
    config = updated(GA, {"parallel_tool_calls": False, "reasoning": {"effort": "low"}})
    assert shown(GA, config)["reasoning"] == {"effort": "low"}
    assert "reasoning" not in shown(GA, updated(GA, {"reasoning": None}, config))


def test_transcription_sessions_keep_a_model() -> None:
    config = updated(GA, {"audio": {"input": {"transcription": None}}}, TRANSCRIBING)
    assert config.transcription is not None
    assert config.transcription.model
    beta = updated(BETA, {"input_audio_format": "g711_ulaw", "turn_detection": None}, TRANSCRIBING)
    assert (beta.input_format.encoding, beta.turn_detection) == ("pcmu", None)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 32_000, 48_000])
def test_other_rates_are_ours(rate: int) -> None:
    form = {"type": "audio/pcm", "rate": rate}
    config = updated(GA, {"audio": {"input": {"format": form}, "output": {"format": form}}})
    assert shown(GA, config)["audio"]["input"]["format"] == form


# -- what is refused: GA's session, beta's session, code, GA's path, beta's path -------------------------------------------


def inp(**keys: Any) -> dict[str, Any]:
    return {"audio": {"input": keys}}


def out(**keys: Any) -> dict[str, Any]:
    return {"audio": {"output": keys}}


def turn(**keys: Any) -> dict[str, Any]:
    return {"type": "server_vad", **keys}


MISSING, TYPE, VALUE, UNKNOWN = "missing_required_parameter", "invalid_type", "invalid_value", "unknown_parameter"
OUT, IN, TD = "audio.output.", "audio.input.", "turn_detection"
BAD: list[tuple[Any, Any, str, str, str]] = [
    ({"foo": 1}, {"foo": 1}, UNKNOWN, "foo", "foo"),
    ({"modalities": ["text"]}, {"output_modalities": ["text"]}, UNKNOWN, "modalities", "output_modalities"),
    ({"voice": "alloy"}, {"audio": {}}, UNKNOWN, "voice", "audio"),
    ({"temperature": 0.8}, {"type": "realtime"}, UNKNOWN, "temperature", "type"),
    (inp(foo=1), {"truncation": "auto"}, UNKNOWN, "audio.input.foo", "truncation"),
    ({"audio": "loud"}, {"turn_detection": "loud"}, TYPE, "audio", TD),
    ({"output_modalities": ["audio", "text"]}, {"modalities": ["audio"]}, VALUE, "output_modalities", "modalities"),
    ({"output_modalities": "text"}, {"modalities": "text"}, TYPE, "output_modalities", "modalities"),
    ({"output_modalities": []}, {"modalities": []}, VALUE, "output_modalities", "modalities"),
    ({"instructions": 5}, {"instructions": 5}, TYPE, "instructions", "instructions"),
    (out(voice="nobody"), {"voice": "nobody"}, VALUE, OUT + "voice", "voice"),
    (out(voice=5), {"voice": {"id": "slt"}}, TYPE, OUT + "voice", "voice"),
    (out(speed=1.6), {"speed": 1.6}, "decimal_above_max_value", OUT + "speed", "speed"),
    (out(speed=0.2), {"speed": 0.2}, "decimal_below_min_value", OUT + "speed", "speed"),
    (out(speed="fast"), {"speed": "fast"}, TYPE, OUT + "speed", "speed"),
    (inp(format="pcm16"), {"input_audio_format": {"type": "audio/pcm"}}, TYPE, IN + "format", "input_audio_format"),
    (inp(format={"type": "mp3"}), {"input_audio_format": "mp3"}, VALUE, IN + "format.type", "input_audio_format"),
    (out(format={}), {"output_audio_format": 1}, "", OUT + "format.type", "output_audio_format"),
    (inp(format={"type": "audio/pcm", "rate": 11025}), {"input_audio_format": "pcm"}, VALUE, IN + "format.rate", "input_audio_format"),
    (inp(format={"type": "audio/pcmu", "rate": 16000}), {"input_audio_format": ""}, VALUE, IN + "format.rate", "input_audio_format"),
    ({"max_output_tokens": 4097}, {"max_response_output_tokens": 4097}, "integer_above_max_value", "max_output_tokens", "max_response_output_tokens"),
    ({"max_output_tokens": 0}, {"max_response_output_tokens": 0}, "integer_below_min_value", "max_output_tokens", "max_response_output_tokens"),
    ({"max_output_tokens": "many"}, {"max_response_output_tokens": "many"}, VALUE, "max_output_tokens", "max_response_output_tokens"),
    ({"max_output_tokens": 1.5}, {"max_response_output_tokens": 1.5}, TYPE, "max_output_tokens", "max_response_output_tokens"),
    (inp(turn_detection=turn(threshold=1.1)), {TD: turn(threshold=1.1)}, "decimal_above_max_value", f"{IN}{TD}.threshold", f"{TD}.threshold"),
    (inp(turn_detection=turn(threshold="x")), {TD: turn(threshold="x")}, TYPE, f"{IN}{TD}.threshold", f"{TD}.threshold"),
    (inp(turn_detection=turn(prefix_padding_ms=-1)), {TD: turn(prefix_padding_ms=-1)}, "integer_below_min_value", f"{IN}{TD}.prefix_padding_ms", f"{TD}.prefix_padding_ms"),
    (inp(turn_detection=turn(idle_timeout_ms=4999)), {TD: turn(idle_timeout_ms=4999)}, "integer_below_min_value", f"{IN}{TD}.idle_timeout_ms", f"{TD}.idle_timeout_ms"),
    (inp(turn_detection=turn(idle_timeout_ms=30001)), {TD: turn(idle_timeout_ms=30001)}, "integer_above_max_value", f"{IN}{TD}.idle_timeout_ms", f"{TD}.idle_timeout_ms"),
    (inp(turn_detection=turn(create_response="yes")), {TD: turn(create_response="yes")}, TYPE, f"{IN}{TD}.create_response", f"{TD}.create_response"),
    (inp(turn_detection=turn(foo=1)), {TD: turn(foo=1)}, UNKNOWN, f"{IN}{TD}.foo", f"{TD}.foo"),
    (inp(turn_detection={"type": "none"}), {TD: {"type": "none"}}, VALUE, f"{IN}{TD}.type", f"{TD}.type"),
    (inp(turn_detection={"type": "semantic_vad", "eagerness": "x"}), {TD: {"type": "semantic_vad", "eagerness": "x"}}, VALUE, f"{IN}{TD}.eagerness", f"{TD}.eagerness"),
    (inp(transcription={"model": 5}), {"input_audio_transcription": {"model": 5}}, TYPE, IN + "transcription.model", "input_audio_transcription.model"),
    (inp(transcription={"foo": 5}), {"input_audio_transcription": {"foo": 5}}, UNKNOWN, IN + "transcription.foo", "input_audio_transcription.foo"),
    (inp(noise_reduction={"type": "x"}), {"input_audio_noise_reduction": {"type": "x"}}, VALUE, IN + "noise_reduction.type", "input_audio_noise_reduction.type"),
    (inp(noise_reduction={}), {"input_audio_noise_reduction": {}}, MISSING, IN + "noise_reduction.type", "input_audio_noise_reduction.type"),
    ({"tools": {}}, {"tools": {}}, TYPE, "tools", "tools"),
    ({"tools": [TOOL, {}]}, {"tools": [TOOL, {}]}, MISSING, "tools[1].name", "tools[1].name"),
    ({"tools": [TOOL, TOOL]}, {"tools": [TOOL, TOOL]}, VALUE, "tools[1].name", "tools[1].name"),
    ({"tools": [{**TOOL, "meta": 1}]}, {"tools": [{**TOOL, "meta": 1}]}, UNKNOWN, "tools[0].meta", "tools[0].meta"),
    ({"tools": [{**TOOL, "parameters": "x"}]}, {"tools": [{**TOOL, "parameters": "x"}]}, TYPE, "tools[0].parameters", "tools[0].parameters"),
    ({"tools": [{"type": "mcp", "server_label": "x"}]}, {"tools": [{"type": "mcp"}]}, VALUE, "tools[0].type", "tools[0].type"),
    ({"tool_choice": "maybe"}, {"tool_choice": "maybe"}, VALUE, "tool_choice", "tool_choice"),
    ({"tool_choice": {"type": "function"}}, {"tool_choice": {"type": "function"}}, MISSING, "tool_choice.name", "tool_choice.name"),
    ({"tool_choice": {"type": "function", "name": "x"}}, {"tool_choice": {"type": "function", "name": "x"}}, VALUE, "tool_choice", "tool_choice"),
    ({"tracing": "on"}, {"tracing": "on"}, VALUE, "tracing", "tracing"),
    ({"prompt": {}}, {"prompt": {}}, MISSING, "prompt.id", "prompt.id"),
    ({"include": ["x"]}, {"include": ["x"]}, VALUE, "include[0]", "include[0]"),
    ({"truncation": {"type": "retention_ratio", "retention_ratio": 2}}, {"temperature": 1.3}, "decimal_above_max_value", "truncation.retention_ratio", "temperature"),
]  # fmt: skip


@pytest.mark.parametrize(("ga", "beta", "code", "ga_path", "beta_path"), BAD, ids=[str(row[0])[:70] for row in BAD])
def test_a_bad_update_is_refused_whole(ga: Any, beta: Any, code: str, ga_path: str, beta_path: str) -> None:
    ga_error = refused(GA, {"type": "session.update", "session": {"type": "realtime", "instructions": "x", **ga}})
    beta_error = refused(BETA, {"type": "session.update", "session": {"speed": 1.0, **beta}})
    assert (ga_error.param, beta_error.param) == (f"session.{ga_path}", f"session.{beta_path}")
    assert {ga_error.code, beta_error.code} <= {code} or not code


def test_ga_updates_name_their_type() -> None:
    error = refused(GA, {"type": "session.update", "session": {"instructions": "x"}})
    assert (error.code, error.param) == (MISSING, "session.type")
    error = refused(GA, {"type": "session.update", "session": {"type": "x"}})
    assert (error.code, error.param) == (VALUE, "session.type")
    error = refused(GA, {"type": "session.update", "session": {"type": "realtime", **inp(turn_detection={})}})
    assert (error.code, error.param) == (MISSING, "session.audio.input.turn_detection.type")


def test_an_unknown_voice_is_told_which_there_are() -> None:
    error = refused(BETA, {"type": "session.update", "session": {"voice": "x"}})
    assert all(f"'{voice}'" in error.message for voice in ("alloy", "cedar", "slt", "kal"))


def test_beta_descriptions_are_short() -> None:
    long = [{**TOOL, "description": "x" * 1025}]
    assert refused(BETA, {"type": "session.update", "session": {"tools": long}}).param == "session.tools[0].description"
    assert asked(GA, {"type": "session.update", "session": {"type": "realtime", "tools": long}})


def test_transcription_sessions_have_no_voice() -> None:
    event = {"type": "session.update", "session": {"type": "transcription", **out(voice="alloy")}}
    assert refused(GA, event, TRANSCRIBING).param == "session.audio.output"
