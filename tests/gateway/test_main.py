"""Life and death of the gateway as a process: what stops it, with which exit status, and what it says then."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.bus import PATIENCE_S, ipc_folder

FLAGS = ("--ws_host=127.0.0.1", "--ws_port=0", "--recv_port=0", "--send_port=0", "--health_port=0", "--log_format=json")
# A gateway in which one of the things that go on for ever meets a bug.
BROKEN = """
import gateway.garbage, gateway.rounds, gateway.bus_link
from gateway.__main__ import main

async def broken(*_: object) -> None:
    raise ZeroDivisionError("canary")

{name} = broken
main()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with ipc_folder() as folder:
        yield folder


@asynccontextmanager
async def gateway(folder: Path, *args: str) -> AsyncIterator[asyncio.subprocess.Process]:
    told = (*args, f"--bind=ipc://{folder}/gateway", *FLAGS)
    here = await asyncio.create_subprocess_exec(sys.executable, *told, stderr=asyncio.subprocess.PIPE)
    try:
        yield here
    finally:
        with contextlib.suppress(ProcessLookupError):
            here.kill()
        await here.communicate()


async def said_until_the_end(here: asyncio.subprocess.Process) -> list[str]:
    """Wait until the process ends; return the lines that it has written."""
    async with asyncio.timeout(PATIENCE_S):
        _, errors = await here.communicate()
    return errors.decode().splitlines()


@pytest.mark.parametrize("name", ["gateway.bus_link.BusLink.run", "gateway.garbage.collect", "gateway.rounds.keep"])
async def test_without_what_goes_on_for_ever_it_says_why_and_stops(folder: Path, name: str) -> None:
    async with gateway(folder, "-c", BROKEN.format(name=name)) as here:
        lines = [json.loads(line) for line in await said_until_the_end(here)]
    assert here.returncode == 1
    assert [line["event"] for line in lines][-2:] == ["stopped", "the gateway failed"]
    assert lines[-1]["level"] == "error"
    assert "in broken" in lines[-1]["exception"]
    assert "ZeroDivisionError" in lines[-1]["exception"]


async def test_a_setting_that_cannot_work_ends_it_with_2_and_a_line_that_names_the_flag(folder: Path) -> None:
    async with gateway(folder, "-m", "gateway", "--ssl_keyfile=key.pem") as here:
        lines = await said_until_the_end(here)
    assert here.returncode == 2
    assert lines[-1] == "gateway: --ssl_keyfile needs --ssl_certfile"


async def test_sigterm_ends_it_with_0(folder: Path) -> None:
    async with gateway(folder, "-m", "gateway") as here:
        assert here.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            while b"listening" not in (line := await here.stderr.readline()):
                assert line, "it ended"  # at the end of a stream nothing waits, not even for the deadline
        here.send_signal(signal.SIGTERM)
        lines = await said_until_the_end(here)
    assert here.returncode == 0
    events = [json.loads(line)["event"] for line in lines]
    assert [event for event in events if event != "waiting for services"][-3:] == ["stopping", "closing", "stopped"]
