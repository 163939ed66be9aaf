"""Raw clients of a running suite: one WebSocket, or a pair of TCP connections.

Both speak and hear 16 kHz mono s16le. A client is an async context manager and an async iterator:

    async with await connect_websocket("localhost", 8765) as client:
        await speak(client, pcm)
        async for item in client:
            match item:
                case Audio(): ...  # a piece of the answer
                case Event(): ...  # only over the WebSocket, see gateway/protocols/raw_events.py

`receive` gives one item; it raises ClosedError at the end, where the iteration just ends. What is not received waits in
the connection, and then in the suite: a client that does not receive slows nobody but itself.
"""

import asyncio
import json
import math
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Protocol, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from launcher.errors import ClosedError, ConnectionFailedError, RefusedError, UnreachableError

SAMPLE_RATE: Final = 16_000
BYTES_PER_MS: Final = 32
# As long as a frame of most microphones' callbacks.
CHUNK_MS: Final = 20
# Close code of RFC 6455's registry: try again later.
TRY_AGAIN_LATER: Final = 1013
# How long anything may take to accept a connection.
CONNECT_TIMEOUT_S: Final = 10.0
# What one read of a TCP client takes at most: the block of stock clients.
_READ_BYTES: Final = 2048


@dataclass(frozen=True, slots=True)
class Audio:
    """A piece of an answer: whole samples, and the event loop's time (seconds) when it came."""

    pcm: bytes
    at_s: float

    @property
    def ms(self) -> float:
        """How long it sounds."""
        return len(self.pcm) / BYTES_PER_MS


@dataclass(frozen=True, slots=True)
class Event:
    """What the suite tells: the event's `type`, its other fields, and the event loop's time (seconds) when it came."""

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)
    at_s: float = 0.0


class Client(Protocol):
    """One connection to a running suite, whatever the mode."""

    async def send(self, pcm: bytes) -> None:
        """Send audio; waits while the suite does not read. Raises ClosedError or RefusedError."""
        ...

    async def receive(self) -> Audio | Event:
        """Return what comes next. Raises ClosedError or RefusedError."""
        ...

    async def close(self) -> None:
        """End the conversation. Idempotent."""
        ...


class _Iterating:
    """The parts of a client that follow from `receive` and `close`."""

    async def receive(self) -> Audio | Event:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[Audio | Event]:
        while True:
            try:
                item = await self.receive()
            except ClosedError:
                return
            yield item


class WebSocketClient(_Iterating):
    """A client of `--mode websocket`; made by `connect_websocket`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, pcm: bytes) -> None:
        """Send *pcm* as one binary message of any size."""
        try:
            await self._connection.send(pcm)
        except ConnectionClosed as closed:
            raise _ending(closed) from closed

    async def send_text(self, text: str) -> None:
        """Send a text message."""
        try:
            await self._connection.send(text)
        except ConnectionClosed as closed:
            raise _ending(closed) from closed

    async def receive(self) -> Audio | Event:
        """Return the next piece of audio or event."""
        try:
            message = await self._connection.recv()
        except ConnectionClosed as closed:
            raise _ending(closed) from closed
        now_s = asyncio.get_running_loop().time()
        if isinstance(message, bytes):
            return Audio(message, now_s)
        fields = json.loads(message)
        return Event(fields.pop("type"), fields, now_s)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    def abort(self) -> None:
        """Reset the connection, as a client that crashes does."""
        _reset(self._connection.transport)


class TcpClient(_Iterating):
    """A client of `--mode socket`: it speaks on one connection and listens on another; made by `connect_tcp`."""

    def __init__(
        self, speaking: asyncio.StreamWriter, reader: asyncio.StreamReader, listening: asyncio.StreamWriter
    ) -> None:
        self._speaking = speaking
        self._reader = reader
        self._listening = listening
        self._odd = b""

    async def send(self, pcm: bytes) -> None:
        """Send *pcm*."""
        try:
            self._speaking.write(pcm)
            await self._speaking.drain()
        except ConnectionError as error:
            raise ClosedError(reason=str(error)) from error

    def end_input(self) -> None:
        """Say nothing more, but go on listening: the suite answers what it heard and then closes."""
        self._speaking.write_eof()

    async def receive(self) -> Audio | Event:
        """Return the next audio: this mode has no events."""
        while True:
            try:
                data = await self._reader.read(_READ_BYTES)
            except ConnectionError as error:
                raise ClosedError(reason=str(error)) from error
            if not data:
                raise ClosedError
            data = self._odd + data
            whole = len(data) // 2 * 2
            self._odd = data[whole:]
            if whole:
                return Audio(data[:whole], asyncio.get_running_loop().time())

    async def close(self) -> None:
        """Close both connections."""
        for writer in (self._speaking, self._listening):
            writer.close()
        await asyncio.gather(
            *(writer.wait_closed() for writer in (self._speaking, self._listening)), return_exceptions=True
        )

    def abort(self) -> None:
        """Reset both connections, as a client that crashes does."""
        for writer in (self._speaking, self._listening):
            _reset(writer.transport)


async def connect_websocket(host: str, port: int, *, events: bool = True) -> WebSocketClient:
    """Connect to `--mode websocket`.

    Raises:
        UnreachableError: nothing answers there.
        ConnectionFailedError: something answers that is not the suite.
    """
    url = websocket_url(host, port) + ("/?events=1" if events else "/")
    try:
        connection = await connect(
            url, max_size=None, compression=None, open_timeout=CONNECT_TIMEOUT_S, proxy=None, ping_interval=None
        )
    except InvalidHandshake as error:
        raise ConnectionFailedError(f"no conversation at {url}: {error}; is --mode websocket served there?") from error
    except (OSError, TimeoutError) as error:
        raise _unreachable(host, port, error) from error
    return WebSocketClient(connection)


async def connect_tcp(host: str, recv_port: int, send_port: int, *, listen: bool = False) -> TcpClient:
    """Connect to `--mode socket`: first to *recv_port* to speak, then to *send_port* to hear.

    With *listen* the suite comes to us: we listen on *send_port* of this machine and wait for it.

    Raises:
        UnreachableError: nothing answers there.
    """
    arrived: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue(1)
    server = None
    port = send_port
    try:
        if listen:
            server = await asyncio.start_server(lambda *streams: arrived.put(streams), None, send_port)
        port = recv_port
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, speaking = await asyncio.open_connection(host, recv_port)
        port = send_port
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, listening = await arrived.get() if listen else await asyncio.open_connection(host, send_port)
        except BaseException:
            speaking.close()
            raise
    except (OSError, TimeoutError) as error:
        raise _unreachable(host, port, error) from error
    finally:
        if server is not None:
            server.close()
    return TcpClient(speaking, reader, listening)


async def speak(
    client: Client, pcm: bytes, *, chunk_ms: float = CHUNK_MS, pace: float = 1.0, begun_s: float | None = None
) -> float:
    """Send *pcm* in chunks on an absolute schedule, *pace* times as fast as real time (`math.inf`: at once).

    As a microphone does, it sends a chunk when its last sample has been spoken. Speech begins at *begun_s* (seconds of
    the event loop, now if None); returns when it ended. Give that as the next call's *begun_s* to go on without a gap.

    Raises:
        ClosedError: the suite closed the connection.
        RefusedError: it has no room.
    """
    loop = asyncio.get_running_loop()
    begun_s = loop.time() if begun_s is None else begun_s
    size = max(2, int(chunk_ms * BYTES_PER_MS) // 2 * 2)
    for start in range(0, len(pcm), size):
        if math.isfinite(pace):
            due_s = begun_s + min(start + size, len(pcm)) / (BYTES_PER_MS * 1000 * pace)
            await asyncio.sleep(due_s - loop.time())
        await client.send(pcm[start : start + size])
    return begun_s + len(pcm) / (BYTES_PER_MS * 1000 * pace) if math.isfinite(pace) else loop.time()


def websocket_url(host: str, port: int) -> str:
    """Return `ws://host:port`, with brackets around an IPv6 address."""
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"


def _reset(transport: asyncio.WriteTransport) -> None:
    # Without lingering, closing is a reset; else it is only where something is left to be read.
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _ending(closed: ConnectionClosed) -> ConnectionFailedError:
    code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "")
    if code == TRY_AGAIN_LATER:
        return RefusedError(reason or "try again later")
    return ClosedError(code, reason)


def _unreachable(host: str, port: int, error: BaseException) -> UnreachableError:
    why = "no answer in time" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        why = "nothing listens there"
    return UnreachableError(f"no suite at {host}:{port} ({why}); start one with: speech-to-speech")
