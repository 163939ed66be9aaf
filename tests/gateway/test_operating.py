"""What operators ask a gateway at its health port."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bus.health_server import HealthServer
from gateway.operating import Operating
from proto.v1 import speech_pb2 as pb
from tests.gateway.services import World, world


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as here:
        yield here


@pytest.fixture
async def port(here: World) -> AsyncIterator[str]:
    server = HealthServer(here.link.health, "127.0.0.1", 0, Operating(here.link))
    yield server.url
    await asyncio.to_thread(server.close)


async def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
    def asked() -> tuple[int, Any]:
        request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 - http
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(asked)


async def test_the_services_are_told_with_what_they_said_of_themselves(here: World, port: str) -> None:
    here.tts.announce(leases=3, capabilities=pb.Capabilities(voices=["alto"]))
    await asyncio.sleep(0.01)
    status, told = await ask(f"{port}/services")
    assert status == 200
    tts = next(service for service in told["services"] if service["role"] == "tts")
    assert (tts["id"], tts["state"], tts["leases"], tts["capacity"]) == ("tts-1", "ready", 3, 4)
    assert (tts["voices"], tts["inbox"]) == (["alto"], here.tts.address)


async def test_a_service_is_drained_by_its_id(here: World, port: str) -> None:
    status, told = await ask(f"{port}/services/asr-1/drain", "POST")
    assert (status, told["role"]) == (202, "asr")
    assert await here.asr.next("drain")


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/services/nobody/drain", {}),
        ("GET", "/services/asr-1/drain", {}),
        ("POST", "/services/asr-1", {}),
        ("DELETE", "/services", {}),
        ("GET", "/servicesx", {}),
        ("POST", "/services/asr-1/drain", {"Origin": "https://page.example"}),
    ],
)
async def test_what_does_not_exist_and_what_a_web_page_asks_is_not_found(
    here: World, port: str, method: str, path: str, headers: dict[str, str]
) -> None:
    status, _ = await ask(f"{port}{path}", method, **headers)
    assert status == 404
    assert "drain" not in here.asr.bodies()
