"""The whole suite on tcp with keys, as the command runs it: clients notice nothing, and a stranger gets nowhere."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from bus.curve import read_keys
from bus.frames import Frame
from bus.node import Node
from gateway.core.events import Role
from launcher.bench.suite import free_port
from launcher.keys import new
from proto.v1 import speech_pb2 as pb
from tests.gateway.replicas import announcement
from tests.support.bus import PATIENCE_S
from tests.support.sound import silence, tone
from tests.support.waiting import until

ROLES = ("vad", "asr", "llm", "tts")
ENGINES = ("--vad=energy", "--asr=scripted", "--llm=scripted", "--tts=scripted")
START_S = 60.0


@dataclass
class Running:
    ws_port: int
    inbox: str
    keys: Path

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ws_port}/health") as response:
            return dict(json.load(response))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    keys = tmp_path_factory.mktemp("keys")
    new(keys, ["suite"])
    running = Running(free_port(), f"tcp://127.0.0.1:{free_port()}", keys / "suite")
    flags = ["--mode=websocket", "--ws_host=127.0.0.1", f"--ws_port={running.ws_port}", *ENGINES]
    flags += [f"--bus_keys={running.keys}", f"--bind={running.inbox}"]
    flags += [f"--{role}_bind=tcp://127.0.0.1:{free_port()}" for role in ROLES]
    with (keys / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "launcher.cli", *flags], stdout=log, stderr=log)
    try:
        asyncio.run(until_ready(running, process, keys / "log"))
        yield running
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, (keys / "log").read_text()


async def until_ready(running: Running, process: "subprocess.Popen[bytes]", log: Path) -> None:
    async with asyncio.timeout(START_S):
        while True:
            assert process.poll() is None, await asyncio.to_thread(log.read_text)
            with suppress(OSError):
                if (await asyncio.to_thread(running.health))["status"] == "ok":
                    return
            await asyncio.sleep(0.1)


async def test_a_turn_is_answered_over_encrypted_sockets(suite: Running) -> None:
    heard = b""
    kinds: list[str] = []
    async with asyncio.timeout(PATIENCE_S), connect(f"ws://127.0.0.1:{suite.ws_port}/?events=1") as client:
        await client.send(tone(440, 0.5))
        await client.send(silence(1.0))
        while "response_done" not in kinds or not any(heard):
            message = await client.recv()
            if isinstance(message, bytes):
                heard += message
            else:
                kinds.append(json.loads(message)["type"])
    assert kinds.index("transcript") < kinds.index("response_done")


async def test_a_stranger_cannot_announce_itself_and_a_member_can(suite: Running) -> None:
    stranger = Node("tcp://127.0.0.1:0", pb.ASR, lambda _body, _frame: None)
    member = Node("tcp://127.0.0.1:0", pb.ASR, lambda _body, _frame: None, keys=read_keys(str(suite.keys)))

    def announced() -> set[str]:
        for node, name in ((stranger, "a stranger"), (member, "a member")):
            said = announcement(Role.ASR, name, instance_id=name, inbox=node.address, state=pb.LOADING)
            node.send(suite.inbox, Frame(announcement=said))
        return {one["instance"] for one in suite.health()["services"]}

    try:
        await until(lambda: "a member" in announced())
        assert "a stranger" not in announced()
    finally:
        stranger.close()
        member.close()


def test_keys_that_are_missing_are_told_before_anything_starts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "launcher.cli", *ENGINES, f"--bus_keys={tmp_path}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "speech-to-speech keys new" in ended.stderr
