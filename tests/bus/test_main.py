"""Life and death of a service as a process: how it starts, what stops it, with which exit status."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.frames import Header
from bus.health import check
from bus.main import NO_TELEMETRY, run_service
from proto.v1 import speech_pb2 as pb
from tests.bus.parrot.__main__ import ParrotSettings, build
from tests.support.bus import PATIENCE_S, FakeGateway, ipc_folder

CANARY = "the nightingale sings at nine"


class Nest:
    """Starts parrots that announce themselves to one gateway."""

    def __init__(self, folder: Path) -> None:
        self.gateway = FakeGateway(folder)
        self.inbox = f"ipc://{folder}/parrot"
        self._started: list[asyncio.subprocess.Process] = []

    async def start(self, *args: str) -> asyncio.subprocess.Process:
        told = ("--bind", self.inbox, "--gateways", self.gateway.address, "--log_format", "json", *args)
        parrot = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bus.parrot", *told, stderr=asyncio.subprocess.PIPE
        )
        self._started.append(parrot)
        return parrot

    async def announced(self, state: pb.State.ValueType) -> pb.Announcement:
        heard = self.gateway.announcements
        async with asyncio.timeout(PATIENCE_S):
            while not (found := [a for a in heard if a.state == state]):  # noqa: ASYNC110 - wakes nobody
                await asyncio.sleep(0.01)
        return found[-1]

    def ask(self, word: str, response_id: str, said: str = "") -> None:
        messages = [pb.Message(author=pb.Message.USER, parts=[pb.Part(text=said)])]
        request = pb.GenerationRequest(instructions=word, messages=messages)
        header = Header(session_id="s1", response_id=response_id)
        self.gateway.send(self.inbox, header, generation_request=request)

    async def close(self) -> None:
        for parrot in self._started:
            with contextlib.suppress(ProcessLookupError):
                parrot.kill()
            await parrot.communicate()
        self.gateway.close()


@pytest.fixture
async def nest() -> AsyncIterator[Nest]:
    with ipc_folder() as folder:
        made = Nest(folder)
        yield made
        await made.close()


async def end(parrot: asyncio.subprocess.Process) -> tuple[int, str]:
    """Wait for the process to end; return its status and what it wrote."""
    async with asyncio.timeout(PATIENCE_S):
        _, errors = await parrot.communicate()
    assert parrot.returncode is not None
    return parrot.returncode, errors.decode()


async def test_sigterm_lets_work_finish_refuses_new_and_exits_with_0(nest: Nest) -> None:
    parrot = await nest.start()
    await nest.announced(pb.READY)
    nest.ask("hang", "r1")
    await leased(nest)
    parrot.send_signal(signal.SIGTERM)
    health_url = (await nest.announced(pb.DRAINING)).health_url
    assert await asyncio.to_thread(check, f"{health_url}/health/ready") == "draining"
    assert await asyncio.to_thread(check, f"{health_url}/health/live") == ""
    nest.ask("hello", "r2")
    refusal = await nest.gateway.next("refusal")
    assert refusal.header.response_id == "r2"
    assert refusal.refusal.not_ready.state == pb.DRAINING
    nest.gateway.send(nest.inbox, Header(session_id="s1", response_id="r1"), text_delta=pb.TextDelta(text="enough"))
    assert (await nest.gateway.next("text_delta", "error")).header.response_id == "r1"
    assert "error" not in nest.gateway.bodies()
    assert (await end(parrot))[0] == 0


async def leased(nest: Nest) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not any(announcement.leases for announcement in nest.gateway.announcements):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_work_that_outlives_the_drain_is_told_and_the_status_is_0(nest: Nest) -> None:
    parrot = await nest.start("--drain_timeout_s", "0.2")
    await nest.announced(pb.READY)
    nest.ask("hang", "r1")
    await leased(nest)
    parrot.send_signal(signal.SIGTERM)
    assert (await nest.gateway.next("error")).error.message == "the service is stopping"
    assert (await end(parrot))[0] == 0


async def test_sigterm_while_an_engine_loads_for_ever_exits_with_0(nest: Nest) -> None:
    parrot = await nest.start("--engine", "slow-to-load")
    loading = await nest.announced(pb.LOADING)
    assert await asyncio.to_thread(check, f"{loading.health_url}/health/ready") == "loading"
    parrot.send_signal(signal.SIGTERM)
    assert (await end(parrot))[0] == 0


async def test_sigkill_leaves_nothing_in_the_way_of_a_restart(nest: Nest) -> None:
    parrot = await nest.start()
    first = await nest.announced(pb.READY)
    parrot.kill()
    assert (await end(parrot))[0] == -signal.SIGKILL
    nest.gateway.announcements.clear()
    await nest.start()
    second = await nest.announced(pb.READY)
    assert (second.inbox, second.instance_id != first.instance_id) == (first.inbox, True)
    nest.ask("hello", "r1")
    assert (await nest.gateway.next("text_delta")).text_delta.text == "hello"


async def test_a_second_service_does_not_take_the_first_ones_inbox(nest: Nest) -> None:
    await nest.start()
    await nest.announced(pb.READY)
    status, errors = await end(await nest.start())
    assert (status, errors.count("\n")) == (2, 1)
    assert "--bind" in errors
    nest.ask("hello", "r1")
    assert (await nest.gateway.next("text_delta")).text_delta.text == "hello"


async def test_what_was_said_is_in_no_log(nest: Nest) -> None:
    parrot = await nest.start("--log_level", "debug")
    await nest.announced(pb.READY)
    nest.ask("crash", "r1", said=CANARY)
    assert CANARY not in (await nest.gateway.next("error")).error.message
    nest.ask(CANARY, "r2")
    await nest.gateway.next("text_delta")
    parrot.terminate()
    status, errors = await end(parrot)
    assert status == 0
    assert "ZeroDivisionError" in errors
    assert "nightingale" not in errors


async def test_settings_of_the_engine_reach_it(nest: Nest) -> None:
    await nest.start("--times=2")
    await nest.announced(pb.READY)
    nest.ask("hey", "r1")
    assert (await nest.gateway.next("text_delta")).text_delta.text == "heyhey"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--engine", "cockatoo"], "choose one of echo, not-installed, not-loadable, slow-to-load"),
        (["--engine", "not-loadable"], "pip install parrot-model"),
        (["--times", "often"], "--times: "),
        (["--health_host", "192.0.2.1"], "--health_port"),
    ],
)
async def test_a_setting_that_cannot_work_is_one_line_and_status_2(nest: Nest, args: list[str], told: str) -> None:
    status, errors = await end(await nest.start(*args))
    assert told in errors
    assert (status, errors.count("\n")) == (2, 1), errors


@pytest.mark.parametrize("flag", ["--bind", "--health_port"])
async def test_a_taken_port_is_one_line_and_status_2(nest: Nest, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        value = f"tcp://127.0.0.1:{port}" if flag == "--bind" else str(port)
        status, errors = await end(await nest.start(flag, value))
    assert (status, errors.count("\n")) == (2, 1), errors
    assert flag in errors


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_libraries_are_told_to_report_to_nobody_unless_it_is_wished(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    for name in NO_TELEMETRY:
        monkeypatch.setenv(name, before or "")
        if before is None:
            monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["llm", "--engine", "nonsense"])
    with pytest.raises(SystemExit):
        run_service("llm", ParrotSettings, build)
    assert {os.environ[name] for name in NO_TELEMETRY} == {after}


def test_a_process_may_open_more_files_than_it_usually_could() -> None:
    script = (
        "import resource; from bus.main import allow_open_files\n"
        "_, most = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))\n"
        "allow_open_files(); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 256)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "True\n"
