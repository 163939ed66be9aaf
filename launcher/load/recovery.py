"""How soon a target that refused somebody takes work again once the load is gone."""

import asyncio
import time
import uuid
from typing import Any, Final

from bus.curve import read_keys
from bus.frames import Frame, Header
from launcher.load.clients.client import Client
from launcher.load.clients.script import Script
from launcher.load.options import STAGES, Options
from launcher.load.peer import Peer
from launcher.load.schedule import Visit
from launcher.load.target import Target
from proto.v1 import speech_pb2 as pb

TRY_EVERY_S: Final = 0.05
# A service that has not recovered by then has not recovered.
PATIENCE_S: Final = 15.0
ANSWER_S: Final = 2.0


async def seconds(options: Options, target: Target) -> float | None:
    """Return how long it took until a newcomer was let in; None if nobody was."""
    begun_s = time.monotonic()
    if options.role not in STAGES:
        if options.protocol == "socket":  # it does not say whether one is in
            return None
        while time.monotonic() - begun_s < PATIENCE_S:
            if await _knock(options, target):
                return time.monotonic() - begun_s
            await asyncio.sleep(TRY_EVERY_S)
        return None
    arrived: asyncio.Queue[tuple[str, str]] = asyncio.Queue(1000)

    def hear(body: str, frame: Frame) -> None:
        if not arrived.full():
            arrived.put_nowait((frame.header.session_id, body))

    peer = Peer(target.inbox("recovery"), hear, keys=read_keys(options.bus_keys))
    try:
        while time.monotonic() - begun_s < PATIENCE_S:
            session_id = f"load-{uuid.uuid4().hex[:12]}"
            header = Header(session_id=session_id, turn_id=1, response_id="r1")
            peer.ask(target.address, header, **_opening(options.role))
            taken = await _taken(arrived, session_id)
            peer.ask(target.address, Header(session_id=session_id), session_close=pb.SessionClose(reason="tried"))
            if taken:
                return time.monotonic() - begun_s
            await asyncio.sleep(TRY_EVERY_S)
        return None
    finally:
        peer.close()


async def _taken(arrived: "asyncio.Queue[tuple[str, str]]", session_id: str) -> bool:
    try:
        async with asyncio.timeout(ANSWER_S):
            while True:
                whose, body = await arrived.get()
                if whose == session_id:
                    return body not in ("refusal", "error")
    except TimeoutError:
        return False


async def _knock(options: Options, target: Target) -> bool:
    visit = Visit(0, 0, 0, 0, ())
    client = Client(options.protocol, target.address, visit, Script((), b"", options.chunk_ms))
    let_in = await client.connect()
    client.settle()
    return let_in


def _opening(role: str) -> dict[str, Any]:
    match role:
        case "vad":
            return {"session_open": pb.SessionOpen(first_turn_id=1)}
        case "asr":
            return {"speech": pb.Speech(pcm=bytes(3200), last=True, recognition=pb.Recognition())}
        case "llm":
            message = pb.Message(author=pb.Message.USER, parts=[pb.Part(text="Hello")])
            return {"generation_request": pb.GenerationRequest(messages=[message], max_output_tokens=1)}
        case _:
            return {"synthesis_request": pb.SynthesisRequest(sample_rate=16_000, granted_ms=1000, text="Hello.")}
