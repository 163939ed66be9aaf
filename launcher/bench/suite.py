"""A whole suite as processes on ports of its own, for benchmarks and tests that look at it as a client does."""

import contextlib
import json
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

# Five Python processes on two busy cores.
START_S: Final = 60.0
STOP_S: Final = 10.0
# Linux hands out 32768 to 60999 (ip_local_port_range); below 20000 well-known services listen.
OUTSIDE_EPHEMERAL: Final = range(20_000, 32_000)
# How much of the log an error shows.
LOG_TAIL: Final = 3000


def free_port() -> int:
    """Return a port that nobody listens on now, and that the kernel will not give to somebody who asks for any."""
    while True:
        port = random.choice(OUTSIDE_EPHEMERAL)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


class SuiteError(Exception):
    """A process of the suite did not do what it should; the message ends with what it logged."""


class Suite:
    """Processes of one suite. *flags* are those of each part, as on its command line."""

    def __init__(self, folder: Path, engines: dict[str, str], flags: dict[str, list[str]]) -> None:
        self.folder = folder
        self.ws_port, self.recv_port, self.send_port = free_port(), free_port(), free_port()
        self.inbox = f"ipc://{folder}/gateway.ipc"
        self._engines = engines
        self._flags = flags
        self._starts = 0
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._draining: list[subprocess.Popen[bytes]] = []
        self.inboxes: dict[str, str] = {}
        self.log = folder / "log.jsonl"

    def start(self, part: str, name: str = "", flags: Sequence[str] = ()) -> None:
        """Start the gateway or the service of a role; a second one of a role needs another *name*.

        *flags* are for this process alone.
        """
        self._starts += 1
        if part == "gateway":
            command = ["-m", "gateway", "--bind", self.inbox, "--ws_host", "127.0.0.1"]
            command += ["--ws_port", str(self.ws_port), "--recv_host", "127.0.0.1", "--send_host", "127.0.0.1"]
            command += ["--recv_port", str(self.recv_port), "--send_port", str(self.send_port)]
        else:
            inbox = self.inboxes[name or part] = f"ipc://{self.folder}/{part}-{self._starts}.ipc"
            command = ["-m", f"services.{part}", "--engine", self._engines[part], "--bind", inbox]
            command += ["--gateways", self.inbox]
        command += ["--health_port", "0", "--log_format", "json", *self._flags.get(part, []), *flags]
        with self.log.open("ab") as log:
            self.processes[name or part] = subprocess.Popen(  # noqa: S603 - our own modules
                [sys.executable, *command], stderr=log, stdout=log
            )

    def health(self) -> dict[str, Any]:
        """Return what `/health` of the gateway says, {} while it does not answer."""
        tls = any(flag.startswith("--ssl_certfile") for flag in self._flags.get("gateway", ()))
        url = f"{'https' if tls else 'http'}://127.0.0.1:{self.ws_port}/health"
        trusting = ssl._create_unverified_context() if tls else None  # noqa: S323, SLF001 - our own process
        with contextlib.suppress(OSError, ValueError):
            try:
                with urllib.request.urlopen(url, timeout=5, context=trusting) as response:  # noqa: S310 - http(s) only
                    return dict(json.load(response))
            except urllib.error.HTTPError as error:
                return dict(json.load(error))
        return {}

    def wait_until_ready(self) -> None:
        """Wait until a conversation can be held."""
        self.wait_for(lambda health: health.get("status") == "ok")

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until *condition* of the gateway's health is true; return that health.

        Raises:
            SuiteError: it did not come true, or a process ended by itself.
        """
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            health = self.health()
            if condition(health):
                return health
            for name, process in list(self.processes.items()):  # another thread may replace one
                if process.poll() not in (None, -signal.SIGKILL, 0):
                    raise SuiteError(f"{name} exited with {process.returncode}\n{self.log_tail()}")
            time.sleep(0.05)
        raise SuiteError(f"not within {START_S} s; health {self.health()}\n{self.log_tail()}")

    def kill(self, name: str) -> None:
        """End a process as if its machine had lost power."""
        self.processes[name].kill()
        self.processes[name].wait()

    def pause(self, name: str) -> None:
        """Stop a process where it is, as a machine does that swaps."""
        self.processes[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a process that was paused go on; any other does."""
        self.processes[name].send_signal(signal.SIGCONT)

    def drain(self, name: str) -> subprocess.Popen[bytes]:
        """Have a process end what it has begun and exit; return it. Its name is free for another."""
        process = self.processes.pop(name)
        self._draining.append(process)
        process.terminate()
        return process

    def log_tail(self) -> str:
        """Return the end of what all processes logged."""
        return self.log.read_text()[-LOG_TAIL:] if self.log.exists() else ""

    def stop(self) -> None:
        """End every process.

        Raises:
            SuiteError: one that lived did not end well.
        """
        draining = {f"draining {number}": process for number, process in enumerate(self._draining)}
        alive = {name: p for name, p in (self.processes | draining).items() if p.poll() is None}
        for process in alive.values():
            process.send_signal(signal.SIGCONT)  # what is paused does not end
            process.terminate()
        wrong = []
        for name, process in alive.items():
            try:
                status = process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                wrong.append(f"{name} did not stop on SIGTERM")
            else:
                wrong += [f"{name} exited with {status}"] if status else []
        if wrong:
            raise SuiteError("\n".join([*wrong, self.log_tail()]))


@contextlib.contextmanager
def running_suite(
    *,
    engines: dict[str, str] | None = None,
    flags: dict[str, list[str]] | None = None,
) -> Iterator[Suite]:
    """Run a suite of scripted engines (the vad's is the energy detector) unless told otherwise; yield it when ready."""
    chosen = {"vad": "energy", "asr": "scripted", "llm": "scripted", "tts": "scripted", **(engines or {})}
    with tempfile.TemporaryDirectory(prefix="s2s-") as folder:  # short: a unix socket's path has 107 bytes
        suite = Suite(Path(folder), chosen, flags or {})
        try:
            for part in ("gateway", *chosen):
                suite.start(part)
            suite.wait_until_ready()
            yield suite
        finally:
            suite.stop()
