"""Clients of the three protocols, as one: sound goes in at 16 kHz, what the suite tells comes out as ledger items."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from launcher.chaos.ledger import LENGTH_MS, Complaint, Ended, Item, Lost, Sound, Started, Stopped, Words
from launcher.client import (
    CONNECT_TIMEOUT_S,
    SAMPLE_RATE,
    TRY_AGAIN_LATER,
    Audio,
    Event,
    TcpClient,
    WebSocketClient,
    connect_tcp,
    connect_websocket,
    websocket_url,
)
from launcher.errors import ClosedError, ConnectionFailedError, RefusedError

HOST: Final = "127.0.0.1"
REALTIME_RATE: Final = 24_000
# Socket clients are told nothing: an answer that stopped for so long is over. A replica that is silent is left after
# three seconds.
CUT_OFF_S: Final = 6.0
# One of which enough has come is over when so long nothing comes: sound is handed over in real time.
OVER_S: Final = 0.5
_TEXTS: Final = frozenset(
    {"conversation.item.input_audio_transcription.completed", "response.output_audio_transcript.delta"}
)


@dataclass(frozen=True, slots=True)
class Doors:
    """The gateway's ports."""

    ws_port: int
    recv_port: int
    send_port: int


class Speaker(Protocol):
    """A connected client."""

    rate: int
    """Samples a second of what it sends."""

    async def send(self, pcm: bytes) -> None:
        """Send mono s16le. Raises ConnectionFailedError."""
        ...

    def items(self) -> AsyncIterator[Item]:
        """Yield what comes. Raises ConnectionFailedError at the end."""
        ...

    async def close(self) -> None:
        """Hang up. Idempotent."""
        ...


class RawSpeaker:
    """`/?events=1`."""

    rate = SAMPLE_RATE

    def __init__(self, client: WebSocketClient) -> None:
        self._client = client
        self.send = client.send
        self.close = client.close

    async def items(self) -> AsyncIterator[Item]:
        """Yield what comes."""
        while True:
            item = await self._client.receive()
            told = Sound(item.pcm, SAMPLE_RATE) if isinstance(item, Audio) else _raw(item)
            if told is not None:
                yield told


def _raw(event: Event) -> Item | None:  # noqa: PLR0911 - a table
    match event.kind:
        case "speech_started":
            return Started()
        case "speech_stopped":
            return Stopped(event.fields["at_ms"])
        case "transcript" | "response_text":
            return Words(event.fields["text"])
        case "turn_failed":
            return Ended("failed", event.fields["message"])
        case "response_done":
            return Ended(event.fields["status"], event.fields["message"])
        case "error" | "input_lost":
            return Complaint(event.fields["message"])
    return None


class RealtimeSpeaker:
    """`/v1/realtime`, the GA dialect: server_vad, pcm at 24 kHz, transcripts."""

    rate = REALTIME_RATE

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.close = connection.close

    async def send(self, pcm: bytes) -> None:
        """Append to the input buffer."""
        audio = base64.b64encode(pcm).decode()
        try:
            await self._connection.send(f'{{"type":"input_audio_buffer.append","audio":"{audio}"}}')
        except ConnectionClosed as closed:
            raise _ending(closed) from closed

    async def items(self) -> AsyncIterator[Item]:
        """Yield what comes."""
        while True:
            try:
                event = json.loads(await self._connection.recv())
            except ConnectionClosed as closed:
                raise _ending(closed) from closed
            told = _realtime(event)
            if told is not None:
                yield told


def _realtime(event: dict[str, object]) -> Item | None:  # noqa: PLR0911 - a table
    match event:
        case {"type": "response.output_audio.delta", "delta": str(delta)}:
            return Sound(base64.b64decode(delta), REALTIME_RATE)
        case {"type": "input_audio_buffer.speech_started"}:
            return Started()
        case {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": int(at_ms)}:
            return Stopped(at_ms)
        case {"type": "response.done", "response": dict(response)}:
            details = response.get("status_details") or {}
            why = (details.get("error") or {}).get("message") or details.get("reason")
            return Ended(response["status"], why or "")
        case {"type": "conversation.item.input_audio_transcription.failed"}:
            return Lost()
        case {"type": "error", "error": dict(error)}:
            return Complaint(str(error.get("message")))
        case {"type": str(kind)} if kind in _TEXTS:
            return Words(str(event.get("transcript") or event.get("delta") or ""))
    return None


class SocketSpeaker:
    """The pair of TCP connections. Nothing is told here: an answer is over when no more of it comes.

    It is complete if about *answer_ms* have come.
    """

    rate = SAMPLE_RATE

    def __init__(self, client: TcpClient, answer_ms: float) -> None:
        self._client = client
        self._least_bytes = round((answer_ms - LENGTH_MS) * SAMPLE_RATE / 1000) * 2
        self.send = client.send
        self.close = client.close

    async def items(self) -> AsyncIterator[Item]:
        """Yield what comes."""
        came = 0
        receiving = asyncio.ensure_future(self._client.receive())
        try:
            while True:
                patience_s = OVER_S if came >= self._least_bytes else CUT_OFF_S
                done, _ = await asyncio.wait({receiving}, timeout=patience_s if came else None)
                if not done:
                    whole = came >= self._least_bytes
                    came = 0
                    yield Ended("completed") if whole else Ended("failed", "the answer stopped in the middle")
                    continue
                if receiving.exception() is not None and came >= self._least_bytes:
                    came = 0
                    yield Ended("completed")
                item = receiving.result()
                receiving = asyncio.ensure_future(self._client.receive())
                if isinstance(item, Audio):
                    came += len(item.pcm)
                    yield Sound(item.pcm, SAMPLE_RATE)
        finally:
            receiving.cancel()
            with suppress(asyncio.CancelledError, ConnectionFailedError):
                await receiving


class Door:
    """Connects speakers to the gateway behind *doors*."""

    def __init__(self, doors: Doors, answer_ms: float = 0.0) -> None:
        self._doors = doors
        self._answer_ms = answer_ms
        self._pairing = asyncio.Lock()

    async def enter(self, protocol: str) -> Speaker:
        """Connect; return when the suite has let us in, as far as the protocol tells.

        Raises:
            RefusedError: the suite has no room.
            ConnectionFailedError: anything else went wrong.
        """
        match protocol:
            case "realtime":
                return await self._realtime()
            case "websocket":
                client = await connect_websocket(HOST, self._doors.ws_port)
                await client.receive()  # the session's event, or the refusal
                return RawSpeaker(client)
            case "socket":
                # The gateway pairs connections by their order.
                async with self._pairing:
                    pair = await connect_tcp(HOST, self._doors.recv_port, self._doors.send_port)
                return SocketSpeaker(pair, self._answer_ms)
        raise ValueError(protocol)

    async def _realtime(self) -> Speaker:
        url = f"{websocket_url(HOST, self._doors.ws_port)}/v1/realtime?model=any"
        connection = await connect(
            url, max_size=None, compression=None, open_timeout=CONNECT_TIMEOUT_S, proxy=None, ping_interval=None
        )
        audio = {"input": {"transcription": {"model": "any"}}}
        update = {"type": "session.update", "session": {"type": "realtime", "audio": audio}}
        try:
            await connection.send(json.dumps(update))
            while json.loads(await connection.recv())["type"] != "session.updated":
                pass
        except ConnectionClosed as closed:
            raise _ending(closed) from closed
        return RealtimeSpeaker(connection)


def _ending(closed: ConnectionClosed) -> ConnectionFailedError:
    code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "")
    return RefusedError(reason or "try again later") if code == TRY_AGAIN_LATER else ClosedError(code, reason)
