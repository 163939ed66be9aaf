"""The values of single settings: `read_…` checks what a client wrote, `write_…` writes what is in force.

A reader takes the value (never null), its path, the value in force, and the rules of the session.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.core.realtime.config import (
    AudioFormat,
    Json,
    SessionConfig,
    Tool,
    ToolChoice,
    Transcription,
    TurnDetection,
)
from gateway.protocols.realtime.audio import PCM_RATES
from gateway.protocols.realtime.checks import (
    Object,
    a_flag,
    a_number,
    a_string,
    a_word,
    an_array,
    an_integer,
    an_object,
    given,
    only,
)
from gateway.protocols.realtime.dialect import Dialect
from gateway.protocols.realtime.errors import invalid, kind, missing, unsupported, wrong_type

# OpenAI's voices: clients name them by habit, so each is an alias of the voice that is here.
ALIASES: Final = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
DEFAULT_VOICE: Final = ALIASES[0]

MAX_NAME: Final = 256
MAX_OUTPUT_TOKENS: Final = 4096
DEFAULT_TEMPERATURE: Final = 0.8
MAX_MS: Final = 2**31 - 1
EFFORTS: Final = ("minimal", "low", "medium", "high", "xhigh")
METADATA_PAIRS, METADATA_KEY, METADATA_VALUE = 16, 64, 512


@dataclass(frozen=True)
class Rules:
    """What values of a session are checked against."""

    dialect: Dialect
    defaults: SessionConfig = field(default_factory=SessionConfig)
    """What a cleared setting goes back to."""
    voices: Collection[str] = field(default=())
    """Ids of the voices that are here, beside `ALIASES`."""
    transcription: Transcription = field(default_factory=lambda: Transcription("default"))
    """What transcripts are like where a client leaves it open."""


Reader = Callable[[Any, str, Any, Rules], Any]
Writer = Callable[[Any, Dialect], Json]


# -- strings, numbers, flags ------------------------------------------------------------------------------------------


def read_text(value: Any, path: str, _now: Any, _rules: Rules) -> str:
    """Return a text of any sensible length."""
    return a_string(value, path)


def read_name(value: Any, path: str, _now: Any, _rules: Rules) -> str:
    """Return a name."""
    return a_string(value, path, MAX_NAME)


def read_flag(value: Any, path: str, _now: Any, _rules: Rules) -> bool:
    """Return a boolean."""
    return a_flag(value, path)


def read_speed(value: Any, path: str, _now: Any, _rules: Rules) -> float:
    """Return how fast speech is, 1.0 as usual."""
    return a_number(value, path, 0.25, 1.5)


def read_temperature(value: Any, path: str, _now: Any, _rules: Rules) -> float:
    """Return a sampling temperature."""
    return a_number(value, path, 0.6, 1.2)


def write_temperature(value: float | None, _dialect: Dialect) -> Json:
    """Return the temperature in force."""
    return DEFAULT_TEMPERATURE if value is None else value


def read_max_tokens(value: Any, path: str, _now: Any, _rules: Rules) -> int | None:
    """Return the limit, None for "inf"."""
    if isinstance(value, str):
        if value != "inf":
            raise invalid(path, f"Invalid value for '{path}': expected 1 to {MAX_OUTPUT_TOKENS} or 'inf'.")
        return None
    return an_integer(value, path, 1, MAX_OUTPUT_TOKENS)


def write_max_tokens(value: int | None, _dialect: Dialect) -> Json:
    """Return the limit."""
    return "inf" if value is None else value


def write_as_is(value: Any, _dialect: Dialect) -> Json:
    """Return *value*."""
    return value


# -- modalities, voices, formats --------------------------------------------------------------------------------------


def read_modalities(value: Any, path: str, _now: Any, rules: Rules) -> str:
    """Return the modality that the array *value* stands for; the order of its words does not matter."""
    words = [a_string(word, f"{path}[{i}]", MAX_NAME) for i, word in enumerate(an_array(value, path)[:4])]
    for modality, combination in rules.dialect.modalities.items():
        if sorted(words) == sorted(combination):
            return modality
    supported = f"['text'] and {rules.dialect.modalities['audio']}"
    raise invalid(path, f"Invalid modalities: {words}. Supported combinations are: {supported}.")


def write_modalities(value: str, dialect: Dialect) -> Json:
    """Return the words for a modality."""
    return dialect.modalities[value]


def read_voice(value: Any, path: str, _now: Any, rules: Rules) -> str:
    """Return a voice: an alias, or one that is here."""
    if isinstance(value, dict) and rules.dialect.formats_are_objects:
        value = given(value, "id", path)
        path = f"{path}.id"
    a_string(value, path)
    if value not in ALIASES and value not in rules.voices and value != rules.defaults.response.voice:
        raise unsupported(path, value, (*ALIASES, *sorted(set(rules.voices) - set(ALIASES))))
    return str(value)


def write_voice(value: str, _dialect: Dialect) -> Json:
    """Return the voice; clients want a name also where none was chosen."""
    return value or DEFAULT_VOICE


def read_format(value: Any, path: str, _now: Any, rules: Rules) -> AudioFormat:
    """Return an audio format."""
    names = {name: encoding for encoding, name in rules.dialect.formats.items()}
    rate = None
    if rules.dialect.formats_are_objects:
        wire = an_object(value, path)
        only(wire, frozenset({"type", "rate"}), path)
        value, rate = given(wire, "type", path), wire.get("rate")
        name_path = f"{path}.type"
    else:
        name_path = path
    encoding: Any = names[a_word(value, name_path, tuple(names))]
    rates = PCM_RATES if encoding == "pcm" else (8_000,)
    if rate is None:
        return AudioFormat(encoding) if encoding == "pcm" else AudioFormat(encoding, 8_000)
    if an_integer(rate, f"{path}.rate") not in rates:
        raise unsupported(f"{path}.rate", rate, map(str, rates))
    return AudioFormat(encoding, int(rate))


def write_format(value: AudioFormat, dialect: Dialect) -> Json:
    """Return an audio format."""
    return dialect.audio_format(value)


# -- input: transcription, noise, turns -------------------------------------------------------------------------------

TRANSCRIPTION_KEYS: Final = frozenset(
    {"model", "language", "prompt", "languages", "keywords", "delay", "model_version"}
)


def read_transcription(value: Any, path: str, now: Transcription | None, rules: Rules) -> Transcription:
    """Return what transcripts shall be like. Any model is taken: there is one here."""
    wire = an_object(value, path)
    only(wire, TRANSCRIPTION_KEYS, path)
    told = {key: item for key, item in wire.items() if item is not None}
    for key in ("model", "language", "model_version"):
        a_string(told.get(key, ""), f"{path}.{key}", MAX_NAME)
    a_string(told.get("prompt", ""), f"{path}.prompt")
    for key in ("languages", "keywords"):
        for i, word in enumerate(an_array(told.get(key, []), f"{path}.{key}")):
            a_string(word, f"{path}.{key}[{i}]", MAX_NAME)
    if "delay" in told:
        a_word(told["delay"], f"{path}.delay", EFFORTS)
    before = now or rules.transcription
    return Transcription(told.get("model", before.model), told.get("language", ""), told.get("prompt", ""), told)


def write_transcription(value: Transcription | None, _dialect: Dialect) -> Json:
    """Return the three keys that every client knows, and what else this one has set."""
    if value is None:
        return None
    return {"model": value.model, "language": value.language or None, "prompt": value.prompt} | {
        key: item for key, item in value.given.items() if key not in {"model", "language", "prompt"}
    }


def read_noise_reduction(value: Any, path: str, now: Object | None, _rules: Rules) -> Object:
    """Return the filter, with its strength until another is given."""
    wire = an_object(value, path)
    only(wire, frozenset({"type", "strength"}), path)
    merged = {**(now or {}), **{key: item for key, item in wire.items() if item is not None}}
    a_word(given(merged, "type", path), f"{path}.type", ("near_field", "far_field"))
    if "strength" in merged:
        a_number(merged["strength"], f"{path}.strength", -1e6, 1e6)
    return merged


_FLAGS: Final = ("create_response", "interrupt_response")
TURN_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "server_vad": ("threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms", *_FLAGS),
    "semantic_vad": ("eagerness", *_FLAGS),
}
_TURN_CHECKS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "threshold": lambda value, path: a_number(value, path, 0.0, 1.0),
    "prefix_padding_ms": lambda value, path: an_integer(value, path, 0, MAX_MS),
    "silence_duration_ms": lambda value, path: an_integer(value, path, 0, MAX_MS),
    "idle_timeout_ms": lambda value, path: an_integer(value, path, 5_000, 30_000),
    "eagerness": lambda value, path: a_word(value, path, ("low", "medium", "high", "auto")),
    "create_response": a_flag,
    "interrupt_response": a_flag,
}


def read_turn_detection(value: Any, path: str, now: TurnDetection | None, rules: Rules) -> TurnDetection:
    """Return how turns are found: the keys given over those in force, or over the defaults of another type.

    Keys that only the other type has are ignored.
    """
    wire = an_object(value, path)
    only(wire, frozenset({"type", *_TURN_CHECKS}), path)
    named: Any = wire.get("type")
    if named is None:
        if rules.dialect.types_are_required:
            raise missing(f"{path}.type")
        named = now.type if now else "server_vad"
    a_word(named, f"{path}.type", tuple(TURN_KEYS))
    defaults = replace(rules.defaults.turn_detection or TurnDetection(), type=named)
    before = now if now is not None and now.type == named else defaults
    changes = {
        key: getattr(defaults, key) if wire[key] is None else _TURN_CHECKS[key](wire[key], f"{path}.{key}")
        for key in TURN_KEYS[named]
        if key in wire
    }
    return replace(before, **changes)


def write_turn_detection(value: TurnDetection | None, _dialect: Dialect) -> Json:
    """Return every key of the type in force."""
    if value is None:
        return None
    return {"type": value.type, **{key: getattr(value, key) for key in TURN_KEYS[value.type]}}


# -- tools ------------------------------------------------------------------------------------------------------------

TOOL_KEYS: Final = frozenset({"type", "name", "description", "parameters", "strict"})


def read_tools(value: Any, path: str, _now: Any, rules: Rules) -> tuple[Tool, ...]:
    """Return the functions that the model may call."""
    tools: dict[str, Tool] = {}
    for i, item in enumerate(an_array(value, path)):
        at = f"{path}[{i}]"
        wire = an_object(item, at)
        a_word(wire.get("type", "function"), f"{at}.type", ("function",))
        only(wire, TOOL_KEYS, at)
        name = a_string(given(wire, "name", at), f"{at}.name", MAX_NAME)
        if not name:
            raise missing(f"{at}.name")
        if name in tools:
            raise invalid(f"{at}.name", f"Invalid value: '{name}'. Another tool has this name.")
        description = wire.get("description")
        if description is not None:
            a_string(description, f"{at}.description", rules.dialect.max_tool_description)
        parameters = wire.get("parameters")
        if parameters is not None:
            an_object(parameters, f"{at}.parameters")
        if wire.get("strict") is not None:
            a_flag(wire["strict"], f"{at}.strict")
        tools[name] = Tool(name, description or "", parameters or {}, {"type": "function"} | wire)
    return tuple(tools.values())


def write_tools(value: tuple[Tool, ...], _dialect: Dialect) -> Json:
    """Return the tools as they were given."""
    return [
        tool.given
        or {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in value
    ]


def read_tool_choice(value: Any, path: str, _now: Any, _rules: Rules) -> ToolChoice:
    """Return which tools may be called. Whether the one named is there is checked when all settings are read."""
    if isinstance(value, str):
        return ToolChoice(a_word(value, path, ("auto", "none", "required")))
    if not isinstance(value, dict):
        raise wrong_type(path, "a string or an object", value)
    only(value, frozenset({"type", "name"}), path)
    a_word(given(value, "type", path), f"{path}.type", ("function",))
    return ToolChoice("function", a_string(given(value, "name", path), f"{path}.name", MAX_NAME))


def write_tool_choice(value: ToolChoice, _dialect: Dialect) -> Json:
    """Return the choice."""
    return {"type": "function", "name": value.name} if value.mode == "function" else value.mode


# -- what is stored and echoed ----------------------------------------------------------------------------------------


def read_tracing(value: Any, path: str, _now: Any, _rules: Rules) -> Json:
    """Return "auto" or a description of the trace."""
    if isinstance(value, str):
        return a_word(value, path, ("auto",))
    wire = an_object(value, path)
    only(wire, frozenset({"workflow_name", "group_id", "metadata"}), path)
    return wire


def read_truncation(value: Any, path: str, _now: Any, _rules: Rules) -> Json:
    """Return how a context that grew too long is cut."""
    if isinstance(value, str):
        return a_word(value, path, ("auto", "disabled"))
    wire = an_object(value, path)
    only(wire, frozenset({"type", "retention_ratio", "token_limits"}), path)
    a_word(given(wire, "type", path), f"{path}.type", ("retention_ratio",))
    a_number(given(wire, "retention_ratio", path), f"{path}.retention_ratio", 0.0, 1.0)
    if wire.get("token_limits") is not None:
        limits = an_object(wire["token_limits"], f"{path}.token_limits")
        only(limits, frozenset({"post_instructions"}), f"{path}.token_limits")
        if limits.get("post_instructions") is not None:
            an_integer(limits["post_instructions"], f"{path}.token_limits.post_instructions", 0)
    return wire


def read_prompt(value: Any, path: str, _now: Any, _rules: Rules) -> Json:
    """Return the reference to a stored prompt."""
    wire = an_object(value, path)
    only(wire, frozenset({"id", "version", "variables"}), path)
    a_string(given(wire, "id", path), f"{path}.id", MAX_NAME)
    return wire


def read_include(value: Any, path: str, _now: Any, _rules: Rules) -> Json:
    """Return what else shall be sent."""
    words = an_array(value, path)
    for i, word in enumerate(words):
        a_word(word, f"{path}[{i}]", ("item.input_audio_transcription.logprobs",))
    return words


def read_reasoning(value: Any, path: str, _now: Any, _rules: Rules) -> Json:
    """Return how hard a reasoning model shall think."""
    wire = an_object(value, path)
    only(wire, frozenset({"effort"}), path)
    if wire.get("effort") is not None:
        a_word(wire["effort"], f"{path}.effort", EFFORTS)
    return wire


def read_metadata(value: Any, path: str, _now: Any, _rules: Rules) -> dict[str, str]:
    """Return the pairs that a response carries for its client."""
    pairs = an_object(value, path)
    if len(pairs) > METADATA_PAIRS:
        raise invalid(path, f"Invalid '{path}': {len(pairs)} pairs. Expected {METADATA_PAIRS} at most.")
    for key, item in pairs.items():
        a_string(key, path, METADATA_KEY)
        if not isinstance(item, str):
            raise invalid(f"{path}.{key}", f"Invalid '{path}': expected strings, but got {kind(item)}.")
        a_string(item, f"{path}.{key}", METADATA_VALUE)
    return pairs
