"""Keeps the processes of a suite running: starts them all at once, waits until they are ready, starts again what dies.

Addresses are sockets in a private folder, and keep their names: a service that takes the place of one that died is
known for its successor by its first announcement, and what was meant for the dead one is answered: no lease here.
"""

import asyncio
import itertools
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher import ports
from launcher.child import Child, ending
from launcher.errors import UsageError
from launcher.parts import GATEWAY, Part

# Wait before a process that died is started again: doubles from the first to the last, begins anew after a good life.
FIRST_WAIT_S: Final = 0.2
LAST_WAIT_S: Final = 5.0
GOOD_LIFE_S: Final = 30.0
# How often a process that is starting is asked whether it is ready.
POLL_S: Final = 0.05
# A part that dies so often before it was ever ready has a bug that starting it again does not mend.
FIRST_STARTS: Final = 5
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The exit status of a process whose settings cannot work.
CANNOT_WORK: Final = 2
# The gateway is ready when all others are: it gives up later, so that the one to blame is named.
GATEWAY_EXTRA_S: Final = 5.0
# Longest path of a unix socket on Linux, less the names that stand in the folder.
_FOLDER_CHARACTERS: Final = 107 - 40

Say = Callable[[str], None]
Command = Callable[[Part], list[str]]


def command(part: Part) -> list[str]:
    """Return the command that runs *part*. `-P`: what lies in the working directory must not hide our packages."""
    return [sys.executable, "-P", "-m", part.module, *part.args]


class Supervisor:
    """Runs the *parts* of a suite. *say* gets a line for the person at the terminal, *log* a line of a process.

    *ready* gets the name of a part whenever it has become ready, again too.
    """

    def __init__(
        self,
        parts: list[Part],
        *,
        say: Say,
        log: Say,
        start_timeout_s: float,
        explain: Callable[[Part, str], str] = lambda _, complaint: complaint,
        command: Command = command,
        ready: Say = lambda _: None,
    ) -> None:
        self._parts = list(parts)
        self._say = say
        self._log = log
        self._start_timeout_s = start_timeout_s
        self._explain = explain
        self._command = command
        self._tell_ready = ready
        self._folder = Path()
        self._ports: dict[str, int] = {}
        self._children: dict[str, Child] = {}
        self._keepers: asyncio.TaskGroup | None = None  # while it runs
        self._ready = {part.name: asyncio.Event() for part in parts}
        self._added: list[asyncio.Task[None]] = []

    async def run(self, then: Callable[[], Awaitable[int]]) -> int:
        """Start everything, run *then* when all parts are ready, stop everything; return what *then* returned.

        SIGINT, SIGTERM and SIGHUP stop everything, too: returns 0. A second one does it by force.

        Raises:
            UsageError: a part cannot work, or was not ready in time.
        """
        with private_folder() as self._folder:
            work = asyncio.ensure_future(self._when_ready(then))
            failed: BaseException | None = None
            try:
                with self._signals_stop(work):
                    async with asyncio.TaskGroup() as tasks:
                        self._keepers = tasks
                        keepers = [tasks.create_task(self._keep(part)) for part in self._parts]
                        await asyncio.wait([work])
                        self._keepers = None
                        for keeper in [*keepers, *self._added]:
                            keeper.cancel()
            except* UsageError as group:
                failed = _first(group)  # raised outside: Python 3.11.2 makes a group of what is raised in here
            finally:
                work.cancel()
            if failed is not None:
                raise failed
        return 0 if work.cancelled() else work.result()

    def add(self, part: Part) -> None:
        """Keep one more *part* running, from now on; its name is a new one. Only while the suite runs."""
        if self._keepers is None:
            raise RuntimeError("the suite does not run")
        self._parts.append(part)
        self._ready[part.name] = asyncio.Event()
        self._added.append(self._keepers.create_task(self._keep(part)))

    def pids(self) -> dict[str, int]:
        """Return the process of each part that runs now, by the part's name."""
        return {name: child.pid for name, child in self._children.items()}

    async def _when_ready(self, then: Callable[[], Awaitable[int]]) -> int:
        for ready in self._ready.values():
            await ready.wait()
        return await then()

    @contextmanager
    def _signals_stop(self, work: "asyncio.Future[int]") -> Iterator[None]:
        def stop() -> None:
            if work.done():  # asked twice
                for child in self._children.values():
                    child.kill()
            work.cancel()

        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, stop)
        try:
            yield
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)

    # -- one part -----------------------------------------------------------------------------------------------------

    async def _keep(self, part: Part) -> None:
        """Run *part* until cancelled, starting it again when it dies."""
        loop = asyncio.get_running_loop()
        wait_s = FIRST_WAIT_S
        give_up_at = loop.time() + self._start_timeout_s + (GATEWAY_EXTRA_S if part.role == GATEWAY else 0.0)
        for start in itertools.count(1):
            begun_at = loop.time()
            life = await self._live(part, start, give_up_at)
            hopeless = life.status == CANNOT_WORK and not life.lost_port
            if not self._ready[part.name].is_set() and (hopeless or start == FIRST_STARTS):
                raise UsageError(f"{part.name}: {'; '.join(life.complaints) or ending(life.status) + ', see above'}")
            for complaint in life.complaints:
                self._say(f"{part.name}: {complaint}")
            if life.status == 0:  # it was asked to, by a drain
                self._say(f"{part.name:<8} (pid {life.pid}) has drained and stays down")
                return
            if loop.time() - begun_at > GOOD_LIFE_S:
                wait_s = FIRST_WAIT_S
            self._say(f"{part.name:<8} (pid {life.pid}) {ending(life.status)}; starting it again in {wait_s:g} s")
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LAST_WAIT_S)

    async def _live(self, part: Part, start: int, give_up_at: float) -> "_Life":
        """Run *part* once, to its end."""
        port = self._health_port(part)
        child = await Child.start(
            [*self._command(part), *self._addresses(part), f"--health_port={port}"],
            lambda line: self._log(line if line.startswith("{") else f"{part.name} | {line}"),
            f"{part.module}: ",
        )
        self._children[part.name] = child
        ended = asyncio.ensure_future(child.wait())
        readiness = asyncio.ensure_future(self._wait_until_ready(part, child, port, start, give_up_at))
        try:
            await asyncio.wait({readiness, ended}, return_when=asyncio.FIRST_COMPLETED)
            if readiness.done():
                readiness.result()  # raises if it was not ready in time
            status = await asyncio.shield(ended)
        finally:
            readiness.cancel()
            await child.stop()
            await ended
            del self._children[part.name], self._ports[part.name]
        complaints = [self._explain(part, complaint) for complaint in child.complaints]
        return _Life(child.pid, status, complaints, lost_port=not ports.is_free(part.health_host, port))

    async def _wait_until_ready(self, part: Part, child: Child, port: int, start: int, give_up_at: float) -> None:
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        while problem := await ports.why_not_ready(part.health_host, port):
            if not self._ready[part.name].is_set() and loop.time() > give_up_at:
                raise UsageError(
                    f"{part.name}: not ready after {self._start_timeout_s:g} s ({problem}); "
                    "see its log with --log_level info, or give it longer with --start_timeout_s"
                )
            await asyncio.sleep(POLL_S)
        state = "ready again" if start > 1 else "ready"
        took = f"{loop.time() - begun_at:.1f} s"
        health = f"http://{ports.local(part.health_host)}:{port}/health/ready"
        self._say(f"{part.name:<8} {state}  {part.engine:<16} {took:>6}  pid {child.pid:<7} {health}")
        self._ready[part.name].set()
        self._tell_ready(part.name)

    # -- addresses ----------------------------------------------------------------------------------------------------

    def _health_port(self, part: Part) -> int:
        port = ports.usual_or_free(part.health_host, part.health_port, self._ports.values())
        self._ports[part.name] = port
        return port

    def _addresses(self, part: Part) -> list[str]:
        gateway = next((p for p in self._parts if p.role == GATEWAY), None)
        inbox = (gateway.bind if gateway is not None else "") or f"ipc://{self._folder}/{GATEWAY}"
        if part.role == GATEWAY:
            return [f"--bind={inbox}"]
        reached = inbox.replace("//0.0.0.0:", "//127.0.0.1:").replace("//*:", "//127.0.0.1:")
        return [f"--bind={part.bind or f'ipc://{self._folder}/{part.name}'}", f"--gateways={reached}"]


@dataclass(frozen=True, slots=True)
class _Life:
    """One run of a part. *lost_port*: somebody else took the port for its health before it could."""

    pid: int
    status: int
    complaints: list[str]
    lost_port: bool


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a new folder that only we may enter, with a path short enough for unix sockets."""
    usual = tempfile.gettempdir()
    where = usual if len(usual) < _FOLDER_CHARACTERS else "/tmp"  # noqa: S108 - what mkdtemp makes there is ours alone
    folder = tempfile.mkdtemp(prefix="s2s-", dir=where)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _first(failed: BaseExceptionGroup[UsageError]) -> UsageError:
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, UsageError) else UsageError(str(error))
