"""Suites made of nothing but a listener: they answer every utterance with a tone, or refuse."""

import asyncio
import json
import math
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

# How much silence in a row ends an utterance, in bytes: 100 ms.
PAUSE_BYTES = 3200
# The answer: 100 ms of a tone.
TONE = struct.pack("<1600h", *(int(8000 * math.sin(i / 4)) for i in range(1600)))


@dataclass
class Heard:
    """What came in."""

    pcm: bytearray = field(default_factory=bytearray)
    connections: int = 0
    times: list[float] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)


class Ear:
    """Says when an utterance is over: sound, then `PAUSE_BYTES` of zeros."""

    def __init__(self, pause_bytes: int = PAUSE_BYTES) -> None:
        self._pause_bytes = pause_bytes
        self._speech = False
        self._silent = 0

    def over(self, pcm: bytes) -> bool:
        if any(pcm):
            self._speech, self._silent = True, 0
            return False
        self._silent += len(pcm)
        if self._speech and self._silent >= self._pause_bytes:
            self._speech = False
            return True
        return False


def events_of_a_turn(turn: int, text: str = "hello") -> list[dict[str, Any]]:
    """Return the events of an answered turn, the audio's place marked by {}."""
    rid = f"r{turn}"
    return [
        {"type": "speech_started", "turn_id": turn, "at_ms": 100},
        {"type": "speech_stopped", "turn_id": turn, "at_ms": 900},
        {"type": "partial_transcript", "turn_id": turn, "text": text[:2]},
        {"type": "transcript", "turn_id": turn, "text": text, "reopened": False},
        {"type": "response_started", "response_id": rid, "turn_id": turn},
        {"type": "response_text", "response_id": rid, "text": "You said "},
        {"type": "response_text", "response_id": rid, "text": f"{text}."},
        {"type": "latency", "turn_id": turn, "ms": {"vad": 1.0, "llm": 2.5, "total": 4.5}},
        {},
        {
            "type": "response_done",
            "response_id": rid,
            "status": "completed",
            "text": f"You said {text}.",
            "audio_ms": 100,
            "message": "",
        },
    ]


@asynccontextmanager
async def websocket_suite(
    *,
    answer: Callable[[int], list[dict[str, Any]]] = events_of_a_turn,
    refuse: str = "",
    tone: bytes = TONE,
) -> AsyncIterator[tuple[int, Heard]]:
    """Serve a raw WebSocket; yield its port and what it hears."""
    heard = Heard()

    async def converse(connection: ServerConnection) -> None:
        heard.connections += 1
        if refuse:
            await connection.close(1013, refuse)
            return
        assert connection.request is not None
        wants_events = connection.request.path.endswith("?events=1")
        if wants_events:
            await connection.send(json.dumps({"type": "session", "session_id": "s1", "sample_rate": 16000}))
        ear, turn = Ear(), 0
        async for message in connection:
            assert isinstance(message, bytes)
            heard.pcm += message
            heard.times.append(asyncio.get_running_loop().time())
            if ear.over(message):
                turn += 1
                for event in answer(turn):
                    if not event:
                        await connection.send(tone)
                    elif wants_events:
                        await connection.send(json.dumps(event))
        heard.closed.set()

    async with serve(converse, "localhost", 0, max_size=None) as server:
        yield next(iter(server.sockets)).getsockname()[1], heard


@asynccontextmanager
async def tcp_suite(*, tone: bytes = TONE) -> AsyncIterator[tuple[int, int, Heard]]:
    """Serve the socket mode; yield its two ports and what it hears."""
    heard = Heard()
    listening: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    writers: list[asyncio.StreamWriter] = []

    async def speaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        heard.connections += 1
        answers = await listening.get()
        ear = Ear(4 * PAUSE_BYTES)  # as long as clients expect an endpoint to take
        while pcm := await reader.read(1024):
            heard.pcm += pcm
            if ear.over(pcm):
                answers.write(tone)
        answers.close()

    async def listens(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        listening.put_nowait(writer)

    receiver = await asyncio.start_server(speaks, "localhost", 0)
    sender = await asyncio.start_server(listens, "localhost", 0)
    try:
        yield receiver.sockets[0].getsockname()[1], sender.sockets[0].getsockname()[1], heard
    finally:
        receiver.close()
        sender.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
