"""The suite that trials are made with: every process real, under the supervisor that people run; scripted engines.

Recognition, answers and speech take the time that models take, drawn from distributions. The vad measures levels: what
is said here are tones.
"""

import asyncio
import json
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from launcher.bench.suite import free_port
from launcher.chaos import canary
from launcher.chaos.speakers import HOST, Doors
from launcher.errors import UsageError
from launcher.flags import plan
from launcher.parts import ROLES, Plan
from launcher.supervisor import Supervisor

# As a recogniser on a small GPU, a hosted language model and a quick voice need, in s.
LATENCIES: Final = (
    "--asr_latency=lognormal:0.15,0.4",
    "--llm_first_token_latency=lognormal:0.2,0.4",
    "--llm_token_latency=lognormal:0.015,0.4",
    "--tts_latency=lognormal:0.08,0.4",
    "--tts_real_time_factor=0.15",
)
SCRIPT: Final = (
    "--vad=energy",
    "--asr=scripted",
    "--asr_canary",
    "--llm=scripted",
    f"--llm_reply={canary.REPLY}",
    "--tts=scripted",
    "--tts_ms_per_character=40",
)
# How long the gateway waits for a service's next sign; shorter than usual, so that trials see such waits end.
TIMEOUTS: Final = ("--asr_timeout_s=8", "--llm_timeout_s=8", "--tts_timeout_s=8")
KEPT_LINES: Final = 60
ANSWER_S: Final = 5.0
POLL_S: Final = 0.1

Show = Callable[[str], None]


class Stage:
    """A running suite: its processes by the names of their parts (`asr`, `asr-2`), and what its gateway says."""

    def __init__(self, planned: Plan, metrics_port: int, supervisor: Supervisor, changed: asyncio.Event) -> None:
        told = planned.settings
        self.doors = Doors(told.ws_port, told.recv_port, told.send_port)
        self._parts = {part.name: part for part in planned.services}
        self._metrics_port = metrics_port
        self._supervisor = supervisor
        self._changed = changed
        self.ready_at_s: dict[str, float] = {}
        """When each part was last ready, by the loop's clock."""

    @property
    def names(self) -> list[str]:
        """The names of all services that were ever started."""
        return list(self._parts)

    def role_of(self, name: str) -> str:
        """Return the role of a service."""
        return self._parts[name].role

    def start_beside(self, name: str) -> str:
        """Start one more process like that of *name*; return its name."""
        part = self._parts[name]
        number = sum(other.role == part.role for other in self._parts.values()) + 1
        more = replace(part, name=f"{part.role}-{number}")
        self._parts[more.name] = more
        self._supervisor.add(more)
        return more.name

    async def gone(self, name: str, patience_s: float) -> bool:
        """Wait until *name* has no process any more; return False if it has one still."""
        due_s = time.monotonic() + patience_s
        while name in self._supervisor.pids():
            if time.monotonic() > due_s:
                return False
            await asyncio.sleep(POLL_S)
        return True

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Send a signal to the process of *name*; return False if none runs now."""
        pid = self._supervisor.pids().get(name)
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def running(self) -> list[str]:
        """Return the names of the services that have a process now."""
        pids = self._supervisor.pids()
        return [name for name in self._parts if name in pids]

    async def ready_since(self, name: str, since_s: float) -> float:
        """Wait until a process of *name* has become ready after *since_s*; return when."""
        while self.ready_at_s.get(name, since_s) <= since_s:
            self._changed.clear()
            await self._changed.wait()
        return self.ready_at_s[name]

    async def health(self) -> dict[str, Any]:
        """Return what the gateway says of its sessions and services."""
        return dict(json.loads(await _get(self.doors.ws_port, "/health")))

    async def until(self, true: Callable[[dict[str, Any]], bool], patience_s: float) -> bool:
        """Wait until the gateway's health is as it should be; return False if it is not in time."""
        due_s = time.monotonic() + patience_s
        while not true(await self.health()):
            if time.monotonic() > due_s:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def counted(self) -> dict[str, float]:
        """Return the gateway's counters by name, labels in braces."""
        text = await _get(self._metrics_port, "/metrics")
        return {
            f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


def on_stage(
    replicas: int, flags: list[str], show: Show, act: Callable[[Stage], Awaitable[bool]]
) -> tuple[bool, list[str]]:
    """Start a suite with so many *replicas* of each role and more *flags*, have *act* done, stop everything.

    Return what *act* returned, False if it was interrupted, and the last lines of the processes' logs.

    Raises:
        UsageError: the suite cannot work.
    """
    metrics_port, ws, recv, send = (free_port() for _ in range(4))
    counts = [f"--{role}_replicas={replicas}" for role in ROLES]
    ports = [f"--ws_port={ws}", f"--recv_port={recv}", f"--send_port={send}", f"--health_port={metrics_port}"]
    hosts = [f"--{name}={HOST}" for name in ("ws_host", "recv_host", "send_host")]
    shared = ["--log_level=warning", "--log_format=json"]
    planned = plan([*SCRIPT, *LATENCIES, *TIMEOUTS, *counts, *ports, *hosts, *shared, *flags], {})
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    ready: dict[str, float] = {}
    changed = asyncio.Event()

    def note_ready(name: str) -> None:
        ready[name] = asyncio.get_running_loop().time()
        changed.set()

    parts = [*planned.services, planned.gateway]
    supervisor = Supervisor(
        parts, say=lines.append, log=lines.append, start_timeout_s=planned.start_timeout_s, ready=note_ready
    )
    stage = Stage(planned, metrics_port, supervisor, changed)
    stage.ready_at_s = ready
    begun_s = time.monotonic()

    async def then() -> int:
        show(f"{len(parts)} processes ready after {time.monotonic() - begun_s:.1f} s")
        return int(await act(stage)) + 1

    try:
        acted = asyncio.run(supervisor.run(then))
    except UsageError as error:
        raise UsageError("\n".join([*lines, str(error)])) from error
    return acted == int(True) + 1, list(lines)


async def _get(port: int, path: str) -> str:
    """Return the body of a page of this machine. Raises OSError, TimeoutError."""
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
    return _joined(body).decode() if b"chunked" in head.lower() else body.decode()


def _joined(chunks: bytes) -> bytes:
    body = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size, 16)
        body, chunks = body + rest[:length], rest[length + 2 :]
        if not length:
            break
    return body
