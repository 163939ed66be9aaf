"""The entry point that every service shares: settings, engine, logs, loop, exit status."""

import os
import resource
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn, TypeVar

import uvloop
from pydantic_settings import SettingsConfigDict

from bus import engines, logs
from bus.errors import ConfigurationError
from bus.serve import Handler, Service
from bus.settings import ServiceSettings, parse

# Two for every client of the socket mode, four for every peer on tcp, and room to spare.
OPEN_FILES: Final = 65_536
# How long a drained process waits for threads that do not end.
HUNG_THREADS_S: Final = 1.0

# ONNX Runtime from 1.29 on and the Hugging Face hub tell their makers of every start and use, unless one of these says
# no before they are imported. That costs privacy, and without a way out of the network seconds at the end.
NO_TELEMETRY: Final = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}

S = TypeVar("S", bound=ServiceSettings)


def run_service(role: str, settings: type[S], build: Callable[[Any, S], Handler]) -> NoReturn:
    """Be `python -m services.<role>`: read the settings, build the handler around the engine, serve, exit.

    The engine's module holds `Settings` (a pydantic model whose fields become flags and `<ROLE>_...` variables of
    the process) and `Engine`, made from them. Exit status: 0 after a drain, 2 when a setting cannot work.
    """
    failed: BaseException | None = None
    allow_open_files()
    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
    try:
        parsed, engine = configure(role, settings, sys.argv[1:])
        logs.configure(role, parsed.log_level, parsed.log_format, content=parsed.log_content)
        uvloop.run(_serve(build(engine, parsed), parsed))
    except* ConfigurationError as group:  # also one that comes alone
        failed = group.exceptions[0]
    # Outside of the clause: Python 3.11.2, which is Debian's, makes a group of what is raised inside, SystemExit too.
    if failed is not None:
        die(f"services.{role}", failed)
    sys.exit(0)


def configure(role: str, settings: type[S], args: list[str]) -> tuple[S, Any]:
    """Return the settings of service and engine in one model, and the engine made from them.

    Raises:
        ConfigurationError: there is no such engine.
    """
    package = f"services.{role}.engines"
    module = engines.find(package, _engine_name(role, settings, args))
    config = SettingsConfigDict(env_prefix=f"{role.upper()}_")
    named = {"model_config": config, "__doc__": module.__doc__}
    combined: type[S] = type(settings.__name__, (settings, module.Settings), named)
    parsed = parse(combined, args, f"services.{role}")
    return parsed, module.Engine(parsed)


def allow_open_files() -> None:
    """Use the descriptors that the system lets this process have: the usual 1024 are a few hundred clients."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    with suppress(ValueError, OSError):  # a system may have limits that it does not tell here
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(allowed, wanted), most))


def die(prog: str, error: BaseException) -> NoReturn:
    """Say in one line what cannot work, exit with status 2."""
    sys.stderr.write(f"{prog}: {error}\n")
    sys.exit(2)


def _engine_name(role: str, settings: type[ServiceSettings], args: list[str]) -> str:
    # The engine decides which flags there are, so its name is read before they are parsed.
    for position, arg in reversed(list(enumerate(args))):  # the last one counts
        if arg == "--engine" and position + 1 < len(args):
            return args[position + 1]
        if arg.startswith("--engine="):
            return arg.removeprefix("--engine=")
    return os.environ.get(f"{role.upper()}_ENGINE") or str(settings.model_fields["engine"].default)


async def _serve(handler: Handler, settings: ServiceSettings) -> None:
    await Service(handler, settings).run()
    # An engine that hangs in a thread, or still loads, would keep the interpreter from ending.
    late = threading.Timer(HUNG_THREADS_S, os._exit, (0,))
    late.daemon = True
    late.start()
