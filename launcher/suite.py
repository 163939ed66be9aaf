"""`speech-to-speech` without a command: runs the services and the gateway until Ctrl-C."""

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from launcher import ports
from launcher.cli import COMMANDS
from launcher.client import websocket_url
from launcher.flags import plan, role_flags
from launcher.parts import GATEWAY, Part, Plan
from launcher.supervisor import Supervisor

# Flags of the gateway that hold the ports clients use, each after the flag of its host.
CLIENT_PORTS: Final = (("recv_host", "recv_port"), ("send_host", "send_port"), ("ws_host", "ws_port"))


def main(args: list[str]) -> int:
    """Run the suite until it is stopped."""
    planned = plan(args, COMMANDS)
    return run_suite(planned, until_stopped)


def run_suite(planned: Plan, then: Callable[[Plan], Awaitable[int]]) -> int:
    """Start everything that is *planned*, run *then* when it is ready, stop everything; return what *then* returned.

    Ports that were left open (0) are chosen first; *then* gets the plan with them.

    Raises:
        UsageError: a part cannot work.
    """
    planned = with_ports(planned)
    for remark in planned.remarks:
        say(remark)
    parts = [*planned.services, planned.gateway]
    say(f"starting {len(parts)} processes: {', '.join(f'{part.name} ({part.engine})' for part in parts)}")
    supervisor = Supervisor(
        parts,
        say=say,
        log=log,
        start_timeout_s=planned.start_timeout_s,
        explain=explain,
    )
    begun_s = time.monotonic()

    async def ready() -> int:
        say(f"ready after {time.monotonic() - begun_s:.1f} s\n")
        return await then(planned)

    status = asyncio.run(supervisor.run(ready))
    say("stopped")
    return status


async def until_stopped(planned: Plan) -> int:
    """Say where clients find the suite, then wait."""
    for line in addresses(planned):
        say(line)
    await asyncio.Event().wait()
    return 0


def addresses(planned: Plan) -> list[str]:
    """Return lines that tell where clients find the suite, and what to try."""
    told = planned.settings
    modes: set[str] = set(told.mode)
    web = websocket_url(_shown(told.ws_host), told.ws_port)
    http = web.replace("ws", "http", 1)
    if getattr(told, "ssl_certfile", ""):
        web, http = web.replace("ws", "wss", 1), http.replace("http", "https", 1)
    lines: list[str] = []
    if "websocket" in modes:
        lines.append(f"  WebSocket  {web}  16 kHz mono 16-bit pcm both ways; {web}/?events=1 tells what happens")
    if "realtime" in modes:
        lines.append(f"  Realtime   {web}/v1/realtime  base_url={http}/v1 for OpenAI's clients")
    if "socket" in modes:
        lines.append(
            f"  TCP        speak to {_shown(told.recv_host)}:{told.recv_port}, "
            f"listen on {_shown(told.send_host)}:{told.send_port}  the same pcm"
        )
    if modes != {"socket"}:
        lines.append(f"  Health     {http}/health")
    if "websocket" in modes:
        lines += ["", f"Try it:  speech-to-speech say FILE.wav{_moved(planned, 'ws_port')}"]
    elif "socket" in modes:
        lines += [
            "",
            f"Try it:  speech-to-speech say FILE.wav --mode socket{_moved(planned, 'recv_port', 'send_port')}",
        ]
    return [*lines, "Ctrl-C stops everything.", ""]


def with_ports(planned: Plan) -> Plan:
    """Return *planned* with a free port in place of every 0 among the ports of clients."""
    chosen: dict[str, int] = {}
    for host, port in CLIENT_PORTS:
        if getattr(planned.settings, port) == 0:
            chosen[port] = ports.usual_or_free(getattr(planned.settings, host), 0, chosen.values())
    return planned.moved(chosen) if chosen else planned


def explain(part: Part, complaint: str) -> str:
    """Return what a process complains about with the launcher's flags in place of its own."""
    if part.role == GATEWAY:
        return complaint
    known = set(role_flags(part.role, part.engine))
    return re.sub(r"--(\w+)", partial(_launchers_flag, part.role, known), complaint)


def say(line: str) -> None:
    """Print a line for the person at the terminal."""
    print(line, flush=True)


def log(line: str) -> None:
    """Print a line of a process's log."""
    print(line, file=sys.stderr, flush=True)


def _launchers_flag(role: str, known: set[str], found: re.Match[str]) -> str:
    name = found[1]
    if name not in known:
        return found[0]
    return f"--{role}" if name == "engine" else f"--{role}_{name}"


def _shown(host: str) -> str:
    return "localhost" if host in ("0.0.0.0", "::", "127.0.0.1") else host


def _moved(planned: Plan, *names: str) -> str:
    """Return the flags that tell a client of those ports that are not the usual ones."""
    usual = {name: field.default for name, field in type(planned.settings).model_fields.items()}
    now = {name: getattr(planned.settings, name) for name in names}
    return "".join(f" --{name} {port}" for name, port in now.items() if port != usual[name])
