"""Where each setting stands in sessions and responses, in both dialects, and how many are read and written at once.

`SETTINGS` is the table; everything else here walks through it. An update is applied whole or not at all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, Literal

from gateway.core.realtime.config import Json, ResponseConfig, SessionConfig, ToolChoice
from gateway.protocols.realtime import values as v
from gateway.protocols.realtime.checks import Object, an_object
from gateway.protocols.realtime.dialect import Dialect
from gateway.protocols.realtime.errors import invalid, unknown
from gateway.protocols.realtime.values import Reader, Rules, Writer

Scope = Literal["realtime", "transcription", "response"]

UNSET: Final = object()


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting. Its places are dotted paths, empty where the dialect does not have it."""

    name: str
    read: Reader
    write: Writer = v.write_as_is
    ga: str = ""
    beta: str = ""
    ga_response: str = ""
    beta_response: str = ""
    home: Literal["session", "response", "extra"] = "session"
    """Which object of the configuration holds it."""
    cleared: Any = UNSET
    """What null stands for; otherwise the default of the server."""
    transcribes: bool = False
    """Whether transcription sessions have it."""

    def place(self, dialect: Dialect, scope: Scope) -> str:
        """Return the path in *scope*, "" if it has none there."""
        if scope == "transcription" and not self.transcribes:
            return ""
        name: str = f"{dialect.name}_response" if scope == "response" else dialect.name
        path: str = getattr(self, name)
        return path

    def value(self, config: SessionConfig) -> Any:
        """Return its value in *config*, `UNSET` if it has none."""
        if self.home == "extra":
            return config.extra.get(self.name, UNSET)
        return getattr(config.response if self.home == "response" else config, self.name)


def _everywhere(name: str, read: Reader, write: Writer = v.write_as_is, **more: Any) -> Setting:
    return Setting(name, read, write, name, name, name, name, "response", **more)


# In the order in which sessions are written.
SETTINGS: Final = (
    Setting("model", v.read_name, ga="model", beta="model"),
    Setting(
        "modality",
        v.read_modalities,
        v.write_modalities,
        ga="output_modalities",
        beta="modalities",
        ga_response="output_modalities",
        beta_response="modalities",
        home="response",
    ),
    _everywhere("instructions", v.read_text, cleared=""),
    Setting(
        "voice",
        v.read_voice,
        v.write_voice,
        ga="audio.output.voice",
        beta="voice",
        ga_response="audio.output.voice",
        beta_response="voice",
        home="response",
    ),
    Setting(
        "input_format",
        v.read_format,
        v.write_format,
        ga="audio.input.format",
        beta="input_audio_format",
        transcribes=True,
    ),
    Setting(
        "output_format",
        v.read_format,
        v.write_format,
        ga="audio.output.format",
        beta="output_audio_format",
        ga_response="audio.output.format",
        beta_response="output_audio_format",
        home="response",
    ),
    Setting(
        "transcription",
        v.read_transcription,
        v.write_transcription,
        ga="audio.input.transcription",
        beta="input_audio_transcription",
        cleared=None,
        transcribes=True,
    ),
    Setting(
        "turn_detection",
        v.read_turn_detection,
        v.write_turn_detection,
        ga="audio.input.turn_detection",
        beta="turn_detection",
        cleared=None,
        transcribes=True,
    ),
    Setting(
        "noise_reduction",
        v.read_noise_reduction,
        ga="audio.input.noise_reduction",
        beta="input_audio_noise_reduction",
        cleared=None,
        transcribes=True,
    ),
    _everywhere("tools", v.read_tools, v.write_tools, cleared=()),
    _everywhere("tool_choice", v.read_tool_choice, v.write_tool_choice),
    Setting(
        "temperature",
        v.read_temperature,
        v.write_temperature,
        beta="temperature",
        beta_response="temperature",
        home="response",
    ),
    Setting(
        "max_output_tokens",
        v.read_max_tokens,
        v.write_max_tokens,
        ga="max_output_tokens",
        beta="max_response_output_tokens",
        ga_response="max_output_tokens",
        beta_response="max_output_tokens",
        home="response",
    ),
    Setting("speed", v.read_speed, ga="audio.output.speed", beta="speed", home="response"),
    Setting("tracing", v.read_tracing, ga="tracing", beta="tracing", cleared=None),
    Setting("truncation", v.read_truncation, ga="truncation"),
    Setting("prompt", v.read_prompt, ga="prompt", beta="prompt", cleared=None),
    Setting("include", v.read_include, ga="include", beta="include", cleared=None, transcribes=True),
    Setting("parallel_tool_calls", v.read_flag, ga="parallel_tool_calls", home="extra"),
    Setting("reasoning", v.read_reasoning, ga="reasoning", home="extra"),
    Setting("metadata", v.read_metadata, ga_response="metadata", beta_response="metadata", home="response"),
)
_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}

# Keys that say nothing new, or nothing that can be followed here. `type` is read by the codec.
_READ_ONLY: Final = ("id", "object", "expires_at", "client_secret")
_IGNORED: Final[Mapping[tuple[str, Scope], tuple[str, ...]]] = {
    ("ga", "realtime"): (*_READ_ONLY, "type"),
    ("ga", "transcription"): (*_READ_ONLY, "type"),
    ("ga", "response"): ("conversation", "input", "temperature", "parallel_tool_calls", "reasoning"),
    ("beta", "realtime"): _READ_ONLY,
    ("beta", "transcription"): (*_READ_ONLY, "modalities"),
    ("beta", "response"): ("conversation", "input"),
}
# Where else a setting is looked for.
_ALSO: Final[Mapping[tuple[str, Scope], Mapping[str, str]]] = {
    ("beta", "response"): {"max_response_output_tokens": "max_output_tokens"}
}


def update_session(config: SessionConfig, wire: Object, rules: Rules, path: str = "session") -> SessionConfig:
    """Return *config* with the settings of *wire*; null goes back to none or the default.

    Raises:
        EventError: something in *wire* is wrong; nothing of it is used.
    """
    found = _collect(wire, _tree(rules.dialect, config.type), path)
    homes: dict[str, dict[str, Any]] = {"session": {}, "response": {}, "extra": dict(config.extra)}
    for setting, (value, at) in found.items():
        home = homes[setting.home]
        if value is not None:
            home[setting.name] = setting.read(value, at, setting.value(config), rules)
        elif setting.home == "extra":
            home.pop(setting.name, None)
        else:
            home[setting.name] = setting.value(rules.defaults) if setting.cleared is UNSET else setting.cleared
    response = replace(config.response, **homes["response"])
    changed = replace(config, **homes["session"], response=_settle_tools(response, found), extra=homes["extra"])
    if changed.type == "transcription" and changed.transcription is None:
        changed = replace(changed, transcription=rules.transcription)
    return changed


def override(config: ResponseConfig, wire: Object, rules: Rules, path: str = "response") -> ResponseConfig:
    """Return *config* with what *wire* asks for one response; null says nothing.

    Raises:
        EventError: something in *wire* is wrong.
    """
    found = _collect(wire, _tree(rules.dialect, "response"), path)
    changes = {
        setting.name: setting.read(value, at, None, rules)
        for setting, (value, at) in found.items()
        if value is not None
    }
    return _settle_tools(replace(config, **changes), found)


def session_object(config: SessionConfig, dialect: Dialect, session_id: str, expires_at: int) -> Object:
    """Return the whole session as *dialect* writes it: every key, unset ones null."""
    kind = "session" if config.type == "realtime" else "transcription_session"
    wire: Object = {} if not dialect.types_are_required else {"type": config.type}
    wire |= {"object": f"realtime.{kind}", "id": session_id, "expires_at": expires_at}
    if config.type == "transcription" and not dialect.types_are_required:
        wire["modalities"] = dialect.modalities["audio"]
    for setting in SETTINGS:
        place, value = setting.place(dialect, config.type), setting.value(config)
        if place and value is not UNSET:
            _put(wire, place, _written(setting, value, config, dialect))
    return {**wire, **dialect.extra_session}


def write(name: str, value: Any, dialect: Dialect) -> Json:
    """Return *value* of the setting *name* as *dialect* writes it."""
    return _BY_NAME[name].write(value, dialect)


def _written(setting: Setting, value: Any, config: SessionConfig, dialect: Dialect) -> Json:
    written = setting.write(value, dialect)
    if setting.name == "turn_detection" and written is not None and config.type == "transcription":
        written = {k: item for k, item in written.items() if k not in {"create_response", "interrupt_response"}}
    return written


def _settle_tools(config: ResponseConfig, found: Mapping[Setting, Any]) -> ResponseConfig:
    """Return *config* with a choice of tools that its tools allow."""
    choice = config.tool_choice
    if choice.mode != "function" or any(tool.name == choice.name for tool in config.tools):
        return config
    at = found.get(_BY_NAME["tool_choice"])
    if at is not None:
        raise invalid(at[1], f"Invalid value: '{choice.name}'. Tool choice names no tool of this session.")
    return replace(config, tool_choice=ToolChoice())  # its tool was taken away


def _collect(wire: Object, tree: Object, path: str) -> dict[Setting, tuple[Any, str]]:
    """Return what *wire* sets, with its path."""
    found: dict[Setting, tuple[Any, str]] = {}
    for key, value in wire.items():
        at = f"{path}.{key}"
        node = tree.get(key, UNSET)
        if node is UNSET:
            raise unknown(at)
        if isinstance(node, Setting):
            found[node] = value, at
        elif node is not None and value is not None:
            found |= _collect(an_object(value, at), node, at)
    return found


@cache
def _tree(dialect: Dialect, scope: Scope) -> Object:
    """Return the keys of *scope*: nested objects whose leaves are settings, or None where a key is ignored."""
    return _make_tree(lambda setting: setting.place(dialect, scope), (dialect.name, scope))


def _make_tree(place: Callable[[Setting], str], whose: tuple[str, Scope]) -> Object:
    tree: Object = dict.fromkeys(_IGNORED[whose])
    for setting in SETTINGS:
        if place(setting):
            _put(tree, place(setting), setting)
    for also, name in _ALSO.get(whose, {}).items():
        tree[also] = _BY_NAME[name]
    return tree


def _put(owner: Object, place: str, value: Any) -> None:
    *outer, key = place.split(".")
    for name in outer:
        owner = owner.setdefault(name, {})
    owner[key] = value
