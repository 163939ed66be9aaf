"""Services that are replaced, and a gateway that stops, while conversations go on: nobody loses a turn."""

import asyncio
import math
import signal
from collections.abc import Iterator

import pytest

from launcher import drain, services
from launcher.bench.suite import Suite, free_port, running_suite
from launcher.client import Event, WebSocketClient, connect_websocket, speak
from launcher.errors import ClosedError
from launcher.operating import ask as ask_gateway
from tests.support.bus import PATIENCE_S
from tests.support.sound import silence, tone

SPEAKERS = 8
ROLES = ["vad", "asr", "llm", "tts"]
GATEWAY_PORT = free_port()
GATEWAY = f"http://127.0.0.1:{GATEWAY_PORT}"


@pytest.fixture
def suite() -> Iterator[Suite]:
    flags = {
        "gateway": ["--health_port", str(GATEWAY_PORT)],
        "asr": ["--canary", "--latency", "0.05"],
        "llm": ["--first_token_latency", "0.05"],
        "tts": ["--ms_per_character", "20"],
    }
    with running_suite(flags=flags) as running:
        yield running


async def end_of_turn(client: WebSocketClient) -> Event:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            item = await client.receive()
            if isinstance(item, Event) and item.kind in {"response_done", "turn_failed", "input_lost"}:
                return item


async def the_rest(client: WebSocketClient) -> None:
    while True:
        await client.receive()


async def converse(suite: Suite, ends: list[Event], stop: asyncio.Event) -> None:
    async with await connect_websocket("127.0.0.1", suite.ws_port) as client:
        while not stop.is_set():
            await speak(client, tone(440, 0.5) + silence(0.7), pace=2)
            ends.append(await end_of_turn(client))


async def replace(suite: Suite, role: str) -> None:
    """Start another service of a role, and have the first one go."""
    old = next(s for s in ask_gateway(GATEWAY, "GET", "/services")["services"] if s["role"] == role)
    process = suite.processes.pop(role)
    suite.start(role)
    await asyncio.to_thread(
        suite.wait_for, lambda health: sum(s["role"] == role and s["ready"] for s in health["services"]) == 2
    )
    status = await asyncio.to_thread(drain.main, [old["id"][:8], "--gateway", GATEWAY])
    assert status == 0
    assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0


async def test_every_service_is_replaced_while_eight_clients_talk_and_no_turn_fails(suite: Suite) -> None:
    ends: list[Event] = []
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as talking:
        for _ in range(SPEAKERS):
            talking.create_task(converse(suite, ends, stop))
        for role in ROLES:
            said = len(ends)
            while len(ends) < said + SPEAKERS:  # noqa: ASYNC110 - whoever talks tells by the list
                await asyncio.sleep(0.01)
            await replace(suite, role)
        said = len(ends)
        while len(ends) < said + SPEAKERS:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.01)
        stop.set()
    assert [end.fields.get("status", end.kind) for end in ends] == ["completed"] * len(ends)


def test_the_services_of_a_suite_are_listed(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    assert services.main(["--gateway", GATEWAY]) == 0
    shown = capsys.readouterr().out
    assert all(role in shown for role in ROLES)
    listed = ask_gateway(GATEWAY, "GET", "/services")["services"]
    assert {(s["role"], s["state"]) for s in listed} == {(role, "ready") for role in ROLES}
    assert suite.inboxes["asr"] in {s["inbox"] for s in listed}


async def test_a_gateway_that_stops_lets_the_answer_end_and_says_goodbye(suite: Suite) -> None:
    async with await connect_websocket("127.0.0.1", suite.ws_port) as client:
        await speak(client, tone(440, 0.5) + silence(0.7), pace=math.inf)
        while True:
            item = await client.receive()
            if isinstance(item, Event) and item.kind == "response_started":
                break
        gateway = suite.processes.pop("gateway")
        gateway.send_signal(signal.SIGTERM)
        done = await end_of_turn(client)
        assert done.fields["status"] == "completed"
        with pytest.raises(ClosedError, match="the server is stopping"):
            await the_rest(client)
    assert await asyncio.to_thread(gateway.wait, PATIENCE_S) == 0
