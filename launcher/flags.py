"""The flags of the suite: the gateway's without a prefix, a service's with its role before them.

Every flag is a field of the settings of the process that it is for, so that names, defaults and help have one source.
What cannot work is found here, before anything is started.
"""

import argparse
import difflib
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, NoReturn, TypeVar, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict, SettingsError

from bus import engines
from bus.curve import read_keys
from bus.errors import ConfigurationError
from bus.settings import ProcessSettings, ServiceSettings
from gateway.settings import (
    GatewaySettings,
    SocketReceiverArguments,
    SocketSenderArguments,
    TurnSettings,
    WebSocketStreamerArguments,
)
from launcher.errors import UsageError
from launcher.parts import GATEWAY, ROLES, Part, Plan

PROG: Final = "speech-to-speech"
# Flags that mean the same to every process; without a prefix they go to all of them.
SHARED: Final[tuple[str, ...]] = ("log_level", "log_format", "log_content", "health_host", "bus_keys")
# What the launcher itself tells the services.
_OURS: Final = ("engine", "gateways")
_WORDS: Final = {"vad": "voice activity detection", "asr": "recognition", "llm": "answers", "tts": "speech"}

S = TypeVar("S", bound=BaseSettings)


class SuiteArguments(BaseModel):
    """What the launcher itself can be told. Engines are the roles' own defaults where nothing is said."""

    vad_replicas: int = Field(1, ge=1, le=64, description="processes of the vad")
    asr_replicas: int = Field(1, ge=1, le=64, description="processes of the asr")
    llm_replicas: int = Field(1, ge=1, le=64, description="processes of the llm")
    tts_replicas: int = Field(1, ge=1, le=64, description="processes of the tts")
    start_timeout_s: float = Field(
        120.0, gt=0, description="the suite gives up if a part is not ready after this; models may have to be loaded"
    )


@dataclass(frozen=True, slots=True)
class _Flag:
    """A flag of the command line: *name* without dashes, for the field *field* of the settings of *target*."""

    name: str
    target: str
    field: str
    told: FieldInfo
    default: object


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing its usage: sixty flags would hide the one line that matters."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "))


def plan(args: list[str], commands: dict[str, str]) -> Plan:
    """Return what to run for the command line *args*. Ends the process after `--help` (*commands*: name to purpose).

    Raises:
        UsageError: something cannot work; a line for each flag.
    """
    args = [_underscored(arg) for arg in args]
    given, remarks = _engines(args)
    models = {role: _model(role, engine) for role, engine in given.items()}
    parser = _parser(given, models, commands)
    known, unknown = parser.parse_known_args(args)
    if unknown:
        raise UsageError(_unknown(unknown[0], parser, given, commands))
    told: dict[str, dict[str, Any]] = {target: {} for target in (GATEWAY, "suite", *ROLES)}
    for key, value in vars(known).items():
        target, _, field = key.partition(":")
        if field:
            told[target][field] = value
    return _plan(told, given, models, remarks)


def role_flags(role: str, engine: str) -> Iterable[str]:
    """Return the names of the fields that a service of *role* with *engine* has."""
    return _model(role, engine).model_fields


def _plan(
    told: dict[str, dict[str, Any]], given: dict[str, str], models: dict[str, type[ServiceSettings]], remarks: list[str]
) -> Plan:
    suite = _checked_values(told["suite"])
    shared = {name: told[GATEWAY][name] for name in SHARED if name in told[GATEWAY]}
    gateway_args = _args(_quiet(told[GATEWAY], "GATEWAY"))
    settings = _checked(GatewaySettings, gateway_args, "--{}".format)
    try:
        read_keys(settings.bus_keys)
    except ConfigurationError as error:
        raise UsageError(str(error)) from error
    services: list[Part] = []
    for role in ROLES:
        args = [f"--engine={given[role]}", *_args(_quiet(shared | told[role], role.upper()))]
        checked = _checked(models[role], args, partial(_role_flag, role, shared))
        _construct(role, given[role], checked)
        bind = told[role].get("bind", "")
        replicas: int = getattr(suite, f"{role}_replicas")
        if bind and replicas > 1:
            raise UsageError(f"--{role}_bind: {replicas} replicas cannot share one inbox; leave it out")
        services.extend(
            Part(
                name=role if number == 1 else f"{role}-{number}",
                role=role,
                engine=given[role],
                args=tuple(arg for arg in args if not arg.startswith(("--bind=", "--health_port="))),
                health_host=checked.health_host,
                health_port=checked.health_port,
                bind=bind,
            )
            for number in range(1, replicas + 1)
        )
    gateway = Part(
        name=GATEWAY,
        role=GATEWAY,
        engine="+".join(settings.mode),
        args=tuple(arg for arg in gateway_args if not arg.startswith(("--bind=", "--health_port="))),
        health_host=settings.health_host,
        health_port=settings.health_port,
        bind=told[GATEWAY].get("bind", ""),
    )
    return Plan(tuple(services), gateway, settings, suite.start_timeout_s, tuple(remarks))


# -- engines ----------------------------------------------------------------------------------------------------------


def _engines(args: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the engine of every role, and what has to be remarked. They decide which flags there are."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    for role in ROLES:
        parser.add_argument(f"--{role}", f"--{role}_engine", dest=role)
    known, _ = parser.parse_known_args(args)
    chosen: dict[str, str] = {}
    remarks: list[str] = []
    for role in ROLES:
        name = getattr(known, role) or os.environ.get(f"{role.upper()}_ENGINE")
        if name is None and role == "tts" and (problem := _flite_problem()):
            remarks.append(f"espeak-ng speaks, because {problem}")
            name = "espeak-ng"
        chosen[role] = name or str(_settings(role).model_fields["engine"].default)
    return chosen, remarks


def _flite_problem() -> str:
    """Return why flite, the better of the embedded voices, cannot be the default here; "" if it can."""
    module = engines.find("services.tts.engines", "flite")
    try:
        module.Engine(module.Settings()).load()
    except ConfigurationError as error:
        return str(error).partition(", or choose")[0]
    return ""


def _settings(role: str) -> type[ServiceSettings]:
    module = importlib.import_module(f"services.{role}.settings")
    settings: type[ServiceSettings] = getattr(module, f"{role.title()}Settings")
    return settings


def _model(role: str, engine: str) -> type[ServiceSettings]:
    """Return the settings of service and engine in one model, as the service itself joins them."""
    try:
        module = engines.find(f"services.{role}.engines", engine)
    except ConfigurationError as error:
        raise UsageError(f"--{role}: {error}") from error
    config = SettingsConfigDict(env_prefix=f"{role.upper()}_", cli_prog_name=PROG)
    joined: type[ServiceSettings] = type(role, (_settings(role), module.Settings), {"model_config": config})
    return joined


def _construct(role: str, engine: str, settings: ServiceSettings) -> None:
    try:
        engines.find(f"services.{role}.engines", engine).Engine(settings)
    except ConfigurationError as error:
        raise UsageError(f"--{role}: {error}") from error


# -- the parser -------------------------------------------------------------------------------------------------------


def _parser(given: dict[str, str], models: dict[str, type[ServiceSettings]], commands: dict[str, str]) -> _Parser:
    width = min(shutil.get_terminal_size().columns, 120)
    parser = _Parser(
        prog=PROG,
        usage=f"{PROG} [flags]          run the suite\n       {PROG} COMMAND [...]   see below",
        description="Hold spoken conversations: runs the four services and the gateway on this machine.\n\ncommands "
        "(each has its own --help):\n" + "\n".join(f"  {name:<8}{purpose}" for name, purpose in commands.items()),
        epilog="Flags of a process are also read from the environment, as GATEWAY_WS_PORT or ASR_LOG_LEVEL.",
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=width),
    )
    for title, flags in _groups(given, models):
        group = parser.add_argument_group(title)
        for flag in flags:
            _add(group, flag)
        if hidden := [f"--{flag.name}" for flag in flags if _hidden(flag)]:
            group.description = f"and, as for every process: {', '.join(hidden)}"
    return parser


def _hidden(flag: _Flag) -> bool:
    return flag.target in ROLES and flag.field in ProcessSettings.model_fields


def _groups(given: dict[str, str], models: dict[str, type[ServiceSettings]]) -> Iterator[tuple[str, list[_Flag]]]:
    modes = [_flag(GATEWAY, "mode", GatewaySettings.model_fields["mode"])]
    engine_flags = [
        _Flag(role, "suite", role, FieldInfo(annotation=str, description=_engine_help(role)), given[role])
        for role in ROLES
    ]
    ours = [_flag("suite", name, told) for name, told in SuiteArguments.model_fields.items()]
    yield "suite", [*modes, *engine_flags, *ours]
    mixins: dict[str, type[BaseModel]] = {
        "SocketReceiverArguments (--mode socket)": SocketReceiverArguments,
        "SocketSenderArguments (--mode socket)": SocketSenderArguments,
        "WebSocketStreamerArguments (--mode websocket)": WebSocketStreamerArguments,
        "turns": TurnSettings,
    }
    seen = {"mode"}
    for title, mixin in mixins.items():
        yield title, [_flag(GATEWAY, name, told) for name, told in mixin.model_fields.items()]
        seen |= set(mixin.model_fields)
    rest = {name: told for name, told in GatewaySettings.model_fields.items() if name not in seen | set(SHARED)}
    yield "gateway", [_flag(GATEWAY, name, told) for name, told in rest.items()]
    shared = [_flag(GATEWAY, name, ProcessSettings.model_fields[name]) for name in SHARED]
    yield f"every process (or one: --asr_{SHARED[0]} ...)", [_quieter(flag) for flag in shared]
    taken = {flag.name for flag in (*modes, *engine_flags, *ours)} | set(GatewaySettings.model_fields)
    for role, model in models.items():
        flags = [_flag(role, name, told, f"{role}_{name}") for name, told in model.model_fields.items()]
        yield (
            f"{role}: {given[role]} (--{role} chooses)",
            [flag for flag in flags if flag.name not in taken and flag.field not in _OURS],
        )


def _flag(target: str, field: str, told: FieldInfo, name: str = "") -> _Flag:
    return _Flag(name or field, target, field, told, told.get_default(call_default_factory=True, validated_data={}))


def _quieter(flag: _Flag) -> _Flag:
    return _Flag(flag.name, flag.target, flag.field, flag.told, "warning") if flag.name == "log_level" else flag


def _engine_help(role: str) -> str:
    names = engines.names(f"services.{role}.engines")
    return f"engine of the {role} ({_WORDS[role]}): {', '.join(names)}"


def _add(group: argparse._ArgumentGroup, flag: _Flag) -> None:
    shown = ",".join(map(str, flag.default)) if isinstance(flag.default, list) else flag.default
    if flag.field == "bind":
        shown = "a private one"
    hint = "" if shown in ("", None) else f" (default: {shown})"
    text = argparse.SUPPRESS if _hidden(flag) else ((flag.told.description or "") + hint).replace("%", "%%")
    dest = f"{flag.target}:{flag.field}"
    names = [f"--{flag.name}"]
    if flag.target == "suite" and flag.field in ROLES:
        names.append(f"--{flag.field}_engine")
    if flag.told.annotation is bool:
        group.add_argument(
            *names, dest=dest, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
        )
    elif get_origin(flag.told.annotation) is list:
        group.add_argument(
            *names, dest=dest, nargs="+", action="extend", default=argparse.SUPPRESS, metavar="NAME", help=text
        )
    else:
        group.add_argument(*names, dest=dest, default=argparse.SUPPRESS, metavar=_metavar(flag.told), help=text)


def _metavar(told: FieldInfo) -> str:
    if get_origin(told.annotation) is Literal:
        return "{" + ",".join(map(str, get_args(told.annotation))) + "}"
    return "N" if told.annotation in (int, float) else "TEXT"


def _underscored(arg: str) -> str:
    """Return a flag written with dashes (`--recv-host`) as it is known here; anything else as it is."""
    if not arg.startswith("--"):
        return arg
    name, equals, value = arg[2:].partition("=")
    negated = "no-" if name.startswith("no-") else ""
    return "--" + negated + name.removeprefix("no-").replace("-", "_") + equals + value


def _unknown(arg: str, parser: _Parser, given: dict[str, str], commands: dict[str, str]) -> str:
    name = arg.partition("=")[0]
    if not name.startswith("-"):
        near = difflib.get_close_matches(name, commands, 1)
        hint = f"did you mean {near[0]}?" if near else f"commands: {', '.join(commands)}"
        return f"unknown command or value {name!r}; {hint} (--help lists all)"
    known = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001 - no other way
    near = difflib.get_close_matches(name, known, 1, cutoff=0.75)
    role = name.removeprefix("--").partition("_")[0]
    hint = f"did you mean {near[0]}?" if near else "--help lists all"
    where = f" of {role} with the engine {given[role]}" if role in given else ""
    return f"unknown flag {name}{where}; {hint}"


# -- checking ---------------------------------------------------------------------------------------------------------


def _args(told: dict[str, Any]) -> list[str]:
    """Return the flags of one process for what was *told*."""
    args: list[str] = []
    for field, value in told.items():
        if isinstance(value, bool):
            args.append(f"--{field}" if value else f"--no-{field}")
        elif isinstance(value, list):
            args.append(f"--{field}={','.join(value)}")
        else:
            args.append(f"--{field}={value}")
    return args


def _quiet(told: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return *told* with a log that does not drown the launcher's own lines, unless something else was asked for."""
    told = dict(told)
    if f"{prefix}_LOG_LEVEL" not in os.environ:
        told.setdefault("log_level", "warning")
    if f"{prefix}_LOG_FORMAT" not in os.environ and sys.stderr.isatty():
        told.setdefault("log_format", "console")
    return told


def _role_flag(role: str, shared: dict[str, Any], field: str) -> str:
    return f"--{role}" if field == "engine" else f"--{field}" if field in shared else f"--{role}_{field}"


def _checked(model: type[S], args: list[str], flag_of: Callable[[str], str]) -> S:
    try:
        return CliApp.run(model, cli_args=args)
    except ValidationError as error:
        raise UsageError("\n".join(_lines(error, flag_of))) from error
    except SettingsError as error:
        raise UsageError(str(error)) from error


def _checked_values(told: dict[str, Any]) -> SuiteArguments:
    try:
        return SuiteArguments(**{name: value for name, value in told.items() if name not in ROLES})
    except ValidationError as error:
        raise UsageError("\n".join(_lines(error, "--{}".format))) from error


def _lines(error: ValidationError, flag_of: Callable[[str], str]) -> Iterator[str]:
    for problem in error.errors():
        flag = flag_of(str(problem["loc"][0])) if problem["loc"] else "settings"
        yield f"{flag}: {problem['msg']} (got {problem['input']!r})"
