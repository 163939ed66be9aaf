"""Gateways are found by address or by name, and hear of a service until it says goodbye."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from bus import announce
from bus.announce import Announcer
from bus.frames import Frame
from bus.node import Node
from proto.v1 import speech_pb2 as pb
from tests.support.bus import PATIENCE_S, ipc_folder


class Sent:
    """Stands in for a node: keeps what would go out and what was forgotten."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, Frame]] = []
        self.forgotten: list[str] = []

    def send(self, address: str, frame: Frame) -> None:
        self.frames.append((address, frame))

    def forget(self, address: str) -> None:
        self.forgotten.append(address)

    def addresses(self) -> list[str]:
        return [address for address, _ in self.frames]


class Names:
    """Stands in for a name server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts: dict[str, list[str]] = {}
        self.silent: set[str] = set()
        monkeypatch.setattr(announce, "_resolve", self._resolve)
        monkeypatch.setattr(announce, "RESOLVE_S", 0.001)
        monkeypatch.setattr(announce, "BEAT_S", 0.001)

    async def _resolve(self, address: str) -> list[str]:
        if address in self.silent:
            await asyncio.sleep(3600)
        return list(self.hosts.get(address, []))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


@contextlib.asynccontextmanager
async def announcing(sent: Sent, *gateways: str) -> AsyncIterator[Announcer]:
    announcer = Announcer(sent, list(gateways), lambda: pb.Announcement(role=pb.ASR))  # type: ignore[arg-type]
    running = asyncio.create_task(announcer.run())
    yield announcer
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def heard(sent: Sent, *addresses: str) -> None:
    """Wait until every one of *addresses* has been told anew, and nobody else is."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            sent.frames.clear()
            await asyncio.sleep(0.01)
            if set(sent.addresses()) == set(addresses):
                return


@pytest.mark.usefixtures("names")
async def test_addresses_are_told_at_once_and_again() -> None:
    sent = Sent()
    async with announcing(sent, "tcp://127.0.0.1:1", "ipc:///run/g"):
        await heard(sent, "tcp://127.0.0.1:1", "ipc:///run/g")
        await heard(sent, "tcp://127.0.0.1:1", "ipc:///run/g")
    assert sent.frames[0][1].announcement.role == pb.ASR


async def test_a_name_stands_for_all_its_addresses(names: Names) -> None:
    sent = Sent()
    names.hosts["tcp://gateway:1"] = ["tcp://10.0.0.1:1", "tcp://10.0.0.2:1"]
    async with announcing(sent, "tcp://gateway:1", "tcp://10.0.0.1:1"):
        await heard(sent, "tcp://10.0.0.1:1", "tcp://10.0.0.2:1")


async def test_a_gateway_that_moved_is_followed(names: Names) -> None:
    sent = Sent()
    names.hosts["tcp://gateway:1"] = ["tcp://10.0.0.1:1"]
    async with announcing(sent, "tcp://gateway:1"):
        await heard(sent, "tcp://10.0.0.1:1")
        names.hosts["tcp://gateway:1"] = ["tcp://10.0.0.9:1"]
        await heard(sent, "tcp://10.0.0.9:1")
    assert sent.forgotten == ["tcp://10.0.0.1:1"]


async def test_a_name_server_that_fails_does_not_lose_the_gateways_found(names: Names) -> None:
    sent = Sent()
    names.hosts["tcp://gateway:1"] = ["tcp://10.0.0.1:1"]
    async with announcing(sent, "tcp://gateway:1"):
        await heard(sent, "tcp://10.0.0.1:1")
        names.hosts.clear()
        await heard(sent, "tcp://10.0.0.1:1")
    assert sent.forgotten == []


async def test_a_name_server_that_is_silent_holds_up_nobody(names: Names) -> None:
    sent = Sent()
    names.silent.add("tcp://gateway:1")
    names.hosts["tcp://other:1"] = ["tcp://10.0.0.2:1"]
    async with announcing(sent, "tcp://gateway:1", "tcp://other:1", "ipc:///run/g"):
        await heard(sent, "tcp://10.0.0.2:1", "ipc:///run/g")


@pytest.mark.usefixtures("names")
async def test_goodbye_is_told_to_all() -> None:
    sent = Sent()
    async with announcing(sent, "ipc:///run/a", "ipc:///run/b") as announcer:
        sent.frames.clear()
        await announcer.say_goodbye()
    assert set(sent.addresses()) == {"ipc:///run/a", "ipc:///run/b"}


async def test_localhost_stands_for_its_number() -> None:
    assert await announce._resolve("tcp://localhost:7700") == ["tcp://127.0.0.1:7700"]


async def test_a_name_that_is_not_known_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror("not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    assert await announce._resolve("tcp://gateway:7700") == []


async def test_a_real_node_carries_the_announcement() -> None:
    arrived = asyncio.Event()
    with ipc_folder() as folder:
        gateway = Node(f"ipc://{folder}/gateway", pb.GATEWAY, lambda _body, _frame: arrived.set())
        service = Node(f"ipc://{folder}/service", pb.ASR, lambda _body, _frame: None)
        Announcer(service, [gateway.address], pb.Announcement).announce()
        async with asyncio.timeout(PATIENCE_S):
            await arrived.wait()
        service.close()
        gateway.close()
