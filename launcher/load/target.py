"""What is loaded: a service or a suite that runs already, or one that is started here and stopped in the end."""

import asyncio
import json
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bus.curve import read_keys
from launcher.bench.suite import SuiteError, free_port, running_suite
from launcher.child import Child, ending
from launcher.errors import UsageError
from launcher.load import profile
from launcher.load.options import STAGES, Options
from launcher.load.peer import Peer, inbox_beside, numeric
from launcher.supervisor import private_folder
from proto.v1 import speech_pb2 as pb

START_S: Final = 120.0
# How long a service that runs already is listened for before it is loaded without having said anything.
LISTEN_S: Final = 2.5
# Places beyond the sessions that are planned: those who come back before they are missed.
SPARE: Final = 16
# Answers that are over before the next words: 2.8 s.
REPLY: Final = "All right, here is your answer. Thank you."


@dataclass(slots=True)
class Target:
    """What is loaded. *address*: an inbox, or HOST:PORT; *pids* and *health* by the name of the process."""

    what: str
    address: str
    pids: dict[str, int] = field(default_factory=dict)
    health: dict[str, str] = field(default_factory=dict)
    cold_start_s: float | None = None
    queue_age_ms: Callable[[], int | None] = lambda: None
    inbox: Callable[[str], str] = lambda _: ""
    """Where to bind a generator's inbox of that name."""
    logged: Callable[[], dict[str, int]] = dict
    """Which warnings and errors were logged since it was last asked, and how often."""


class Log:
    """What the processes of a target log, line by line as JSON: keeps the last lines, counts warnings and errors."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=3)
        self._warnings: Counter[str] = Counter()

    def take(self, line: str) -> None:
        """Take a line."""
        self.lines.append(line)
        try:
            told = json.loads(line)
            if told["level"] not in ("info", "debug"):
                self._warnings[f"{told['service']}: {told['event']}"] += 1 + int(told.get("more", 0))
        except (ValueError, KeyError, TypeError):
            return  # a line of a library, or half of one

    def warnings(self) -> dict[str, int]:
        """Return what was logged since this was last asked."""
        found, self._warnings = dict(self._warnings.most_common()), Counter()
        return found


class _Reader:
    """Reads what comes into the file of a log."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._log = Log()

    def warnings(self) -> dict[str, int]:
        with self._path.open() as file:
            file.seek(self._read)
            for line in file:
                self._log.take(line)
            self._read = file.tell()
        return self._log.warnings()


def opened(options: Options, sessions: int) -> AbstractAsyncContextManager[Target]:
    """Return the target for *sessions*, to be entered."""
    if options.role in STAGES:
        return _service(options, sessions)
    return _suite(options, sessions)


@asynccontextmanager
async def _service(options: Options, sessions: int) -> AsyncIterator[Target]:
    role = pb.Role.Value(options.role.upper())
    address = numeric(options.target) if options.target else ""
    with private_folder() as folder:
        bind = options.bind or inbox_beside(address, str(folder), "load")
        peer = Peer(bind, lambda _body, _frame: None, keys=read_keys(options.bus_keys))
        child: Child | None = None
        target = Target(options.role, address)
        try:
            if not address and not options.bind:
                child, target = await _start(options, sessions, str(folder), peer)
            elif not address:
                said = await peer.ready(role, START_S)
                target = Target(_described(said), said.inbox, health=_health(said, options))
            else:
                await asyncio.sleep(LISTEN_S if options.bind else 0)
                said = next(iter(peer.announcements.values()), pb.Announcement())
                what = _described(said) if said.engine else f"the {options.role} at {options.target}"
                target = Target(what, address, health=_health(said, options))
            target.queue_age_ms = lambda: max((a.queue_age_ms for a in peer.announcements.values()), default=None)
            target.inbox = lambda name: inbox_beside(target.address, str(folder), name)
            yield target
        finally:
            peer.close()
            if child is not None:
                await child.stop()
                await child.wait()


async def _start(options: Options, sessions: int, folder: str, peer: Peer) -> tuple[Child, Target]:
    role, engine = options.role, options.engines[options.role]
    told = Log()
    command = [
        sys.executable,
        "-P",
        "-m",
        f"services.{role}",
        f"--engine={engine}",
        f"--bind=ipc://{folder}/{role}.ipc",
    ]
    command += [
        f"--gateways={peer.address}",
        "--health_port=0",
        "--log_format=json",
        f"--capacity={options.capacity or sessions + SPARE}",
    ]
    command += [f"--bus_keys={options.bus_keys}"] if options.bus_keys else []
    command += [*_profile_flags(options, role, sessions), *options.flags]
    begun_s = time.monotonic()
    child = await Child.start(command, told.take, f"services.{role}: ")
    ready = asyncio.ensure_future(peer.ready(pb.Role.Value(role.upper()), START_S))
    ended = asyncio.ensure_future(child.wait())
    try:
        await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not ready.done() or ready.exception() is not None:
            await child.stop()
    if ended.done():
        ready.cancel()
        why = "; ".join(child.complaints) or "; ".join(told.lines) or ending(ended.result())
        raise UsageError(f"load: the {role} cannot work: {why}")
    ended.cancel()
    said = await ready
    target = Target(_described(said), said.inbox, cold_start_s=time.monotonic() - begun_s)
    target.pids = {role: child.pid}
    target.health = {role: said.health_url}
    target.logged = told.warnings
    return child, target


@asynccontextmanager
async def _suite(options: Options, sessions: int) -> AsyncIterator[Target]:
    if options.target:
        health = {"gateway": options.metrics} if options.metrics else {}
        yield Target(f"the gateway at {options.target}", options.target, health=health)
        return
    parts = ("gateway", *STAGES)
    room = str(options.capacity or sessions + SPARE)
    flags: dict[str, list[str]] = {part: ["--capacity", room] for part in STAGES}
    flags["gateway"] = ["--max_sessions", room]
    if options.engines["llm"] == "scripted":
        flags["llm"] += ["--reply", REPLY]
    ports = {part: free_port() for part in parts}
    for part in parts:
        flags[part] += ["--health_port", str(ports[part]), "--log_format", "json", "--log_level", "warning"]
        flags[part] += _profile_flags(options, part, sessions) if options.engines.get(part) == "scripted" else []
    for flag in options.flags:
        part, rest = _whose(flag)
        flags[part].append(rest)
    begun_s = time.monotonic()
    try:
        with running_suite(engines=options.engines, flags=flags) as suite:
            engines = ", ".join(f"{role} {engine}" for role, engine in options.engines.items())
            address = f"127.0.0.1:{suite.ws_port}"
            if options.protocol == "socket":
                address = f"127.0.0.1:{suite.recv_port}:{suite.send_port}"
            yield Target(
                f"a gateway with {engines}",
                address,
                {part: suite.processes[part].pid for part in parts},
                {part: f"http://127.0.0.1:{port}" for part, port in ports.items()},
                time.monotonic() - begun_s,
                logged=_Reader(suite.log).warnings,
            )
    except SuiteError as error:
        raise UsageError(f"load: {_last_words(str(error))}") from error


def _whose(flag: str) -> tuple[str, str]:
    """Return which part of a suite *flag* is for, and its name there: `--asr_latency=1` is the asr's `--latency=1`."""
    name = flag.removeprefix("--")
    if not flag.startswith("--") or "=" not in flag:
        raise UsageError(f"load: {flag!r}: write flags of a suite as --NAME=VALUE after --")
    part = name.partition("_")[0]
    return (part, f"--{name.removeprefix(f'{part}_')}") if part in STAGES else ("gateway", flag)


def _profile_flags(options: Options, role: str, sessions: int) -> list[str]:
    return profile.read(options.profile).flags(role, sessions) if options.profile else []


def _described(said: pb.Announcement) -> str:
    model = f" ({said.model})" if said.model and said.model != said.engine else ""
    return f"{pb.Role.Name(said.role).lower()} {said.engine}{model}, {said.capacity} places"


def _health(said: pb.Announcement, options: Options) -> dict[str, str]:
    url = options.metrics or said.health_url
    return {options.role: url} if url else {}


def _last_words(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return f"{lines[0]}: {lines[-1]}" if len(lines) > 1 else text
