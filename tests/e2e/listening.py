"""What tests of a whole suite do with it before they call it sound."""

import asyncio
import json

from websockets.asyncio.client import connect

from launcher.bench.suite import Suite
from tests.support.bus import PATIENCE_S
from tests.support.sound import silence, tone


async def hold_a_turn(suite: Suite) -> None:
    """Speak to the raw WebSocket and hear an answer."""
    kinds: list[str] = []
    heard = b""
    async with asyncio.timeout(PATIENCE_S), connect(f"ws://127.0.0.1:{suite.ws_port}/?events=1") as client:
        await client.send(tone(440, 0.5))
        await client.send(silence(1.0))
        while "response_done" not in kinds or not any(heard):
            message = await client.recv()
            if isinstance(message, bytes):
                heard += message
            else:
                kinds.append(json.loads(message)["type"])


# What a gateway reports of others as an error: of services, and (uvicorn) of clients.
EXPECTED = {"service refused", "Invalid UTF-8 sequence received from client."}


def assert_nothing_was_raised(suite: Suite) -> None:
    """Look for tracebacks and errors in what all processes have logged."""
    bare: list[str] = []
    for line in suite.log.read_text().splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            assert told["level"] not in ("error", "critical") or told["event"] in EXPECTED, line
        else:
            bare.append(line)
    assert not any("Traceback" in line for line in bare), "\n".join(bare)
