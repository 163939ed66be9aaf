"""The ways to be connected to a gateway: how each is entered, and what is understood of what comes."""

import asyncio
import json
from collections.abc import Callable
from typing import Final, Protocol

from launcher.client import BYTES_PER_MS
from launcher.load.clients.wire import BINARY, TEXT, WebSocketWire, frame

PROTOCOLS: Final = ("realtime", "realtime-pcmu", "websocket", "socket")


class Ear(Protocol):
    """Whoever is told what comes."""

    def ended(self, why: str, code: int) -> None:
        """Take the end of the connection that we did not want."""
        ...

    def stopped(self, end_ms: float) -> None:
        """Take the end of a turn, at *end_ms* of our audio."""
        ...

    def audio(self, length_ms: float) -> None:
        """Take audio."""
        ...

    def interrupted(self) -> None:
        """Take the word that the user speaks."""
        ...

    def done(self, status: str) -> None:
        """Take the end of an answer."""
        ...

    def failed(self, code: str, what: str) -> None:
        """Take an error."""
        ...

    def turn_failed(self, what: str) -> None:
        """Take the word that a turn is lost."""
        ...

    def stages(self, spent_ms: dict[str, float]) -> None:
        """Take the gateway's account of where a turn's time went."""
        ...


class Mouth(Protocol):
    """A connection, as the client uses it."""

    async def connect(self) -> None:
        """Connect. Raises OSError."""
        ...

    def send(self, chunk: bytes) -> None:
        """Send a chunk of the script."""
        ...

    def close(self) -> None:
        """Say goodbye, where the protocol can, and hang up."""
        ...

    def abort(self) -> None:
        """Hang up without a word."""
        ...


class _WebSocketMouth:
    """What the two WebSocket protocols share."""

    path = ""

    def __init__(self, target: str, client: Ear) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self.client = client
        self._let_in: asyncio.Future[None] | None = None
        request = f"GET {self.path} HTTP/1.1\r\n"
        request += f"Host: {self._host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        request += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        self._wire = WebSocketWire(request, self._opened, self.heard, self._ended)

    async def connect(self) -> None:
        """Connect, and wait until the first event says that we are in, or the gateway says no."""
        loop = asyncio.get_running_loop()
        self._let_in = loop.create_future()
        await loop.create_connection(self._wire.itself, self._host, self._port)
        await self._let_in

    def send(self, chunk: bytes) -> None:
        """Send a frame made beforehand."""
        self._wire.send(chunk)

    def close(self) -> None:
        """Say goodbye."""
        self._wire.close()

    def abort(self) -> None:
        """Hang up."""
        self._wire.abort()

    def heard(self, opcode: int, buffer: bytearray, begin: int, end: int) -> None:
        """Take a message."""
        raise NotImplementedError

    def is_in(self) -> None:
        """Note that the gateway has a place for us."""
        if self._let_in is not None and not self._let_in.done():
            self._let_in.set_result(None)

    def _opened(self) -> None:
        """Do nothing: the first event decides."""

    def _ended(self, why: str, code: int) -> None:
        self.client.ended(why, code)
        self.is_in()


class RealtimeMouth(_WebSocketMouth):
    """`/v1/realtime`, session settings as they come: server_vad, pcm at 24 kHz."""

    path = "/v1/realtime"

    AUDIO: Final = b'{"type":"response.output_audio.delta"'
    STOPPED: Final = b'{"type":"input_audio_buffer.speech_stopped"'
    STARTED: Final = b'{"type":"input_audio_buffer.speech_started"'
    DONE: Final = b'{"type":"response.done"'
    ERROR: Final = b'{"type":"error"'
    SESSION = b'{"type":"session.created"'
    FAILED: Final = b'{"type":"conversation.item.input_audio_transcription.failed"'
    DELTA: Final = b'"delta":"'
    # Four characters of base64 are three bytes; a ms at 24 kHz is 48 bytes.
    CHARACTERS_PER_MS = 64.0

    def heard(self, opcode: int, buffer: bytearray, begin: int, end: int) -> None:
        """Take a message: look at its first bytes."""
        del opcode
        if buffer.startswith(self.AUDIO, begin):
            at = buffer.find(self.DELTA, begin, end) + len(self.DELTA)
            self.client.audio((buffer.find(b'"', at, end) - at) / self.CHARACTERS_PER_MS)
        elif buffer.startswith(self.STOPPED, begin):
            self.client.stopped(json.loads(buffer[begin:end])["audio_end_ms"])
        elif buffer.startswith(self.STARTED, begin):
            self.client.interrupted()
        elif buffer.startswith(self.DONE, begin):
            self.client.done(json.loads(buffer[begin:end])["response"]["status"])
        elif buffer.startswith(self.ERROR, begin):
            told = json.loads(buffer[begin:end])["error"]
            self.client.failed(told.get("code") or told.get("type") or "", told.get("message") or "")
        elif buffer.startswith(self.FAILED, begin):
            self.client.turn_failed(bytes(buffer[begin:end]).decode(errors="replace"))
        elif buffer.startswith(self.SESSION, begin):
            self.is_in()


class TelephoneMouth(RealtimeMouth):
    """`/v1/realtime` as telephone gateways speak it: G.711 µ-law at 8 kHz both ways."""

    CREATED: Final = RealtimeMouth.SESSION
    SESSION = b'{"type":"session.updated"'
    # Four characters of base64 are three bytes; a ms is 8 bytes.
    CHARACTERS_PER_MS = 32 / 3
    UPDATE: Final = frame(
        TEXT,
        b'{"type":"session.update","session":{"type":"realtime","audio":'
        b'{"input":{"format":{"type":"audio/pcmu"}},"output":{"format":{"type":"audio/pcmu"}}}}}',
    )

    def heard(self, opcode: int, buffer: bytearray, begin: int, end: int) -> None:
        """Take a message; ask for the format before anything else."""
        if buffer.startswith(self.CREATED, begin):
            self.send(self.UPDATE)
        else:
            super().heard(opcode, buffer, begin, end)


class RawMouth(_WebSocketMouth):
    """`/?events=1`: raw pcm, and events that tell what happens."""

    path = "/?events=1"

    def heard(self, opcode: int, buffer: bytearray, begin: int, end: int) -> None:
        """Take a message."""
        if opcode == BINARY:
            self.client.audio((end - begin) / BYTES_PER_MS)
            return
        event = json.loads(buffer[begin:end])
        match event["type"]:
            case "session":
                self.is_in()
            case "speech_stopped":
                self.client.stopped(event["at_ms"])
            case "interrupt":
                self.client.interrupted()
            case "response_done":
                self.client.done(event["status"])
            case "latency":
                self.client.stages(event["ms"])
            case "turn_failed":
                self.client.turn_failed(event["message"])
            case "error" | "input_lost":
                self.client.failed(event["type"], event["message"])


class SocketMouth(asyncio.Protocol):
    """Two TCP connections: speak on the first, listen on the second. There are no events.

    The gateway pairs connections by address and order, so one pair is made after the other.
    """

    _pairing = asyncio.Lock()

    def __init__(self, target: str, client: Ear) -> None:
        host, speak, listen = target.rsplit(":", 2)
        self._host, self._speak, self._listen = host, int(speak), int(listen)
        self.client = client
        self._speaking: asyncio.Transport | None = None
        self._listening: asyncio.Transport | None = None
        self._odd = 0

    async def connect(self) -> None:
        """Make the pair."""
        loop = asyncio.get_running_loop()
        async with self._pairing:
            self._speaking, _ = await loop.create_connection(asyncio.Protocol, self._host, self._speak)
            self._listening, _ = await loop.create_connection(lambda: self, self._host, self._listen)

    def data_received(self, data: bytes) -> None:
        """Take audio."""
        self._odd += len(data)
        whole = self._odd // 2 * 2
        self._odd -= whole
        if whole:
            self.client.audio(whole / BYTES_PER_MS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing more comes: this mode says no to a client by hanging up."""
        self.client.ended(str(exc or "the gateway hung up"), 0)

    def send(self, chunk: bytes) -> None:
        """Send pcm."""
        if self._speaking is not None:
            self._speaking.write(chunk)

    def close(self) -> None:
        """Hang up."""
        for transport in (self._speaking, self._listening):
            if transport is not None:
                transport.close()

    def abort(self) -> None:
        """Reset both."""
        for transport in (self._speaking, self._listening):
            if transport is not None:
                transport.abort()


MOUTHS: Final[dict[str, Callable[[str, Ear], Mouth]]] = {
    "realtime": RealtimeMouth,
    "realtime-pcmu": TelephoneMouth,
    "websocket": RawMouth,
    "socket": SocketMouth,
}
