import asyncio
import os
import re
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher import child, ports, supervisor
from launcher.errors import UsageError
from launcher.parts import Part
from launcher.supervisor import Supervisor
from tests.launcher.fakes import fake_command, fake_part

PATIENCE_S = 30.0


async def until_gone(pid: int) -> None:
    """Wait until a process that was killed is reaped, which is its parent's business, or init's."""
    async with asyncio.timeout(PATIENCE_S):
        while lives(pid):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


class Watched:
    """A supervisor whose lines are kept."""

    def __init__(
        self,
        *parts: Part,
        start_timeout_s: float = PATIENCE_S,
        explain: Callable[[Part, str], str] = lambda _, complaint: complaint,
    ) -> None:
        self.said: list[str] = []
        self.logged: list[str] = []
        self.more = asyncio.Event()
        self.supervisor = Supervisor(
            list(parts),
            say=self._say,
            log=self._log,
            start_timeout_s=start_timeout_s,
            explain=explain,
            command=fake_command,
        )

    def _say(self, line: str) -> None:
        self.said.append(line)
        self.more.set()

    def _log(self, line: str) -> None:
        self.logged.append(line)
        self.more.set()

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                self.more.clear()
                await self.more.wait()

    def pids(self) -> list[int]:
        return [int(found[1]) for line in self.logged if (found := re.search(r"(?:pid|worker)=(\d+)", line))]

    def folder(self) -> Path:
        found = re.search(r"ipc://(\S+)/", self.logged[0])
        assert found is not None
        return Path(found[1])


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_parts_run_while_the_work_goes_on_and_nothing_remains_after_it() -> None:
    watched = Watched(fake_part("vad", "ready"), fake_part("gateway", "ready"))
    modes: list[int] = []

    async def work() -> int:
        modes.append(stat.S_IMODE(watched.folder().stat().st_mode))
        assert all(lives(pid) for pid in watched.pids())
        return 7

    assert await watched.supervisor.run(work) == 7
    assert modes == [0o700]
    assert not watched.folder().exists()
    assert len(watched.pids()) == 2
    assert not any(lives(pid) for pid in watched.pids())
    assert sorted(line.split()[:2] for line in watched.said) == [["gateway", "ready"], ["vad", "ready"]]


async def test_a_part_that_dies_is_started_again_at_its_address() -> None:
    watched = Watched(fake_part("vad", "ready"), fake_part("gateway", "ready"))

    async def work() -> int:
        first = next(line for line in watched.logged if line.startswith("vad"))
        found = re.search(r"pid=(\d+)", first)
        assert found is not None
        os.kill(int(found[1]), signal.SIGKILL)
        await watched.until(lambda: any("ready again" in line for line in watched.said))
        return 0

    await watched.supervisor.run(work)
    binds = [re.findall(r"--bind=(\S+)", line)[0] for line in watched.logged if line.startswith("vad")]
    assert len(binds) == 2
    assert binds[0] == binds[1]
    assert any("was ended by SIGKILL; starting it again in 0.2 s" in line for line in watched.said)


async def test_a_part_that_was_asked_to_end_stays_down() -> None:
    watched = Watched(fake_part("vad", "ready"), fake_part("gateway", "ready"))

    async def work() -> int:
        first = next(line for line in watched.logged if line.startswith("vad"))
        os.kill(int(re.findall(r"pid=(\d+)", first)[0]), signal.SIGTERM)
        await watched.until(lambda: any("has drained and stays down" in line for line in watched.said))
        return 0

    await watched.supervisor.run(work)
    assert not any("again" in line for line in watched.said)


async def test_a_part_that_is_added_is_kept_running_like_the_others() -> None:
    watched = Watched(fake_part("vad", "ready"))

    async def work() -> int:
        watched.supervisor.add(fake_part("vad", "ready", name="vad-2"))
        await watched.until(lambda: any(line.startswith("vad-2    ready ") for line in watched.said))
        os.kill(watched.supervisor.pids()["vad-2"], signal.SIGKILL)
        await watched.until(lambda: any(line.startswith("vad-2    ready again") for line in watched.said))
        return 0

    await watched.supervisor.run(work)
    assert watched.supervisor.pids() == {}
    with pytest.raises(RuntimeError, match="does not run"):
        watched.supervisor.add(fake_part("vad", "ready", name="vad-3"))


async def test_the_gateway_keeps_its_address_and_services_know_it() -> None:
    watched = Watched(fake_part("vad", "ready"), fake_part("gateway", "ready"))

    async def work() -> int:
        first = next(line for line in watched.logged if line.startswith("gateway"))
        os.kill(int(re.findall(r"pid=(\d+)", first)[0]), signal.SIGKILL)
        await watched.until(lambda: any("ready again" in line for line in watched.said))
        return 0

    await watched.supervisor.run(work)
    binds = [re.findall(r"--bind=(\S+)", line)[0] for line in watched.logged if line.startswith("gateway")]
    vad = next(line for line in watched.logged if line.startswith("vad"))
    assert len(binds) == 2
    assert {*binds, *re.findall(r"--gateways=(\S+)", vad)} == {binds[0]}


async def test_workers_that_a_dead_part_left_behind_are_ended() -> None:
    watched = Watched(fake_part("vad", "parent"))

    async def work() -> int:
        await watched.until(lambda: len(watched.pids()) == 2)
        os.kill(watched.pids()[0], signal.SIGKILL)
        await watched.until(lambda: any("ready again" in line for line in watched.said))
        await until_gone(watched.pids()[1])
        return 0

    await watched.supervisor.run(work)
    assert not any(lives(pid) for pid in watched.pids())


async def test_a_part_that_cannot_work_ends_the_suite_with_its_own_words() -> None:
    watched = Watched(fake_part("vad", "refuse"), fake_part("gateway", "ready"), explain=lambda _, said: said.upper())

    async def work() -> int:
        raise AssertionError("not everything is ready")

    with pytest.raises(UsageError, match=r"^vad: --ENGINE FOO IS BAD; PIP INSTALL NOTHING$"):
        await watched.supervisor.run(work)
    assert not any(lives(pid) for pid in watched.pids())
    assert not any("--engine foo is bad" in line for line in watched.logged)


async def test_a_part_whose_health_port_was_snatched_away_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    choose = ports.usual_or_free
    with socket.create_server(("127.0.0.1", 0)) as thief:
        stolen = [thief.getsockname()[1]]
        monkeypatch.setattr(ports, "usual_or_free", lambda *told: stolen.pop() if stolen else choose(*told))
        watched = Watched(fake_part("vad", "ready"))
        assert await watched.supervisor.run(lambda: asyncio.sleep(0, 3)) == 3
    assert any("exited with status 2; starting it again" in line for line in watched.said)


async def test_a_part_that_is_never_ready_ends_the_suite() -> None:
    watched = Watched(fake_part("vad", "never"), start_timeout_s=1.5)
    with pytest.raises(UsageError, match=r"vad: not ready after 1\.5 s \((loading|no answer yet)\)"):
        await watched.supervisor.run(lambda: asyncio.sleep(0, 0))


async def test_a_part_that_only_crashes_ends_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_WAIT_S", 0.01)
    watched = Watched(fake_part("vad", "crash"))
    with pytest.raises(UsageError, match="vad: exited with status 3, see above"):
        await watched.supervisor.run(lambda: asyncio.sleep(0, 0))
    assert len(watched.pids()) == supervisor.FIRST_STARTS


async def test_a_part_that_does_not_listen_to_reason_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "ASK_AGAIN_S", 0.1)
    monkeypatch.setattr(child, "KILL_AFTER_S", 0.2)
    watched = Watched(fake_part("vad", "stubborn"))
    assert await watched.supervisor.run(lambda: asyncio.sleep(0, 5)) == 5
    assert not any(lives(pid) for pid in watched.pids())


async def test_an_error_of_the_work_stops_everything() -> None:
    watched = Watched(fake_part("vad", "ready"))

    async def work() -> int:
        raise UsageError("no question")

    with pytest.raises(UsageError, match="no question"):
        await watched.supervisor.run(work)
    assert not any(lives(pid) for pid in watched.pids())
