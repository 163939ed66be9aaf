"""The suite in containers, as `docker compose` runs it: what tests and their fixtures ask of it."""

import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.error import HTTPError

import pytest

ROOT: Final = Path(__file__).parents[2]
ROLES: Final = ("vad", "asr", "llm", "tts")
PORTS: Final = ("WS_PORT", "RECV_PORT", "SEND_PORT")
# A build that downloads, on a busy machine.
LONGEST_S: Final = 900
# Ends what is told to run in a container, as a crash would: the one process that its init has started.
CRASH: Final = (
    "import os, signal; os.kill(int(open('/proc/1/task/1/children').read().split()[0]), signal.SIGKILL)"  # not its init
)


@dataclass
class Composed:
    """One project of `docker compose`; *project* names it, *variables* stand for a .env."""

    project: str
    variables: dict[str, str]
    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    """How long things took, for people to read."""

    @property
    def unhealthy(self) -> list[str]:
        """Containers that have been unhealthy at any time."""
        return [line for line in self._events.read_text(encoding="utf-8").splitlines() if "unhealthy" in line]

    @property
    def log(self) -> str:
        """What the containers wrote, those that are gone included."""
        return "".join(path.read_text(encoding="utf-8") for path in sorted(self.folder.glob("*.log")))

    @property
    def _events(self) -> Path:
        return self.folder / "events"

    def run(
        self, *args: str, check: bool = True, variables: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` with *args*; *variables* go before those of the project."""
        done = subprocess.run(
            ["docker", "compose", "--progress", "plain", *args],  # noqa: S607 - the one that people run
            cwd=ROOT,
            env={**os.environ, **self.variables, **variables, "COMPOSE_PROJECT_NAME": self.project},
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        if done.returncode and check:
            pytest.fail(f"docker compose {' '.join(args)}\n{done.stdout}{done.stderr}\n{self.logs()}", pytrace=False)
        return done

    def timed(self, name: str, *args: str, variables: Mapping[str, str] = MappingProxyType({})) -> None:
        """Run `docker compose` with *args* and note how long it took as *name*."""
        begun = time.monotonic()
        self.run(*args, variables=variables)
        self.seconds[name] = round(time.monotonic() - begun, 1)

    def keep_log(self) -> None:
        """Keep what the containers have written: those that are replaced take their logs with them."""
        (self.folder / f"{time.monotonic_ns()}.log").write_text(self.logs(), encoding="utf-8")

    def logs(self) -> str:
        """Return what the containers that there are have written."""
        return self.run("logs", "--no-color", check=False).stdout

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Return what `docker inspect` says of the containers of *service*, or of all, stopped ones included."""
        ids = self.run("ps", "--all", "--quiet", *filter(None, [service])).stdout.split()
        if not ids:
            return []
        said = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True)  # noqa: S607
        return list(json.loads(said.stdout))

    def shell(self, service: str, script: str, *, index: int = 1) -> str:
        """Run a shell's *script* in a container of *service*; return what it wrote."""
        done = self.run("exec", "-T", f"--index={index}", service, "sh", "-c", script, check=False)
        return (done.stdout + done.stderr).strip()

    def crash(self, service: str, *, index: int = 1) -> None:
        """Kill the process in a container of *service*."""
        self.run("exec", "-T", f"--index={index}", service, "python", "-c", CRASH, check=False)

    def engines(self, role: str) -> list[str]:
        """Return the engines of the replicas of *role* that the gateway takes for ready."""
        with self.port() as opened:
            services = json.load(opened)["services"]
        return sorted(service["engine"] for service in services if service["role"] == role and service["ready"])

    @contextmanager
    def port(self) -> Iterator[Any]:
        """Open /health on the port of WebSocket clients; it also answers when the suite is not ready."""
        url = f"http://127.0.0.1:{self.variables['WS_PORT']}/health"
        with ExitStack() as opened:
            try:
                yield opened.enter_context(urllib.request.urlopen(url, timeout=10))
            except HTTPError as error:
                yield opened.enter_context(error)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note which containers become unhealthy meanwhile."""
        told = ["docker", "events", "--filter", "event=health_status", "--filter", f"label={self._label}"]
        with self._events.open("w", encoding="utf-8") as noted, subprocess.Popen(told, stdout=noted) as watching:
            try:
                yield
            finally:
                watching.terminate()

    @property
    def _label(self) -> str:
        return f"com.docker.compose.project={self.project}"


def free_ports() -> dict[str, str]:
    """Return variables with ports that nobody listens on."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in PORTS]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return {name: str(one.getsockname()[1]) for name, one in zip(PORTS, sockets, strict=True)}


def names_in(path: Path) -> set[str]:
    """Return the variables that a compose file looks up: in `${...}`, or in an environment by their names alone."""
    text = path.read_text(encoding="utf-8")
    looked_up = set(re.findall(r"\$\{(\w+)", text))
    return looked_up | set(re.findall(r"^ +([A-Z][A-Z_]+):$", text, re.MULTILINE))
