"""`--mode socket`: raw pcm over two TCP connections per client, one to speak on and one to listen on.

16 kHz mono s16le both ways, no header, nothing but pcm. The second connection is made by the client (stock clients do)
or by us, see `send_mode`.
"""

import asyncio
import errno
import socket
from contextlib import suppress
from typing import Final

import structlog

from bus.errors import ConfigurationError
from gateway.bus_link import BusLink
from gateway.core import commands as do
from gateway.core.input import BLOCK_BYTES, BYTES_PER_MS
from gateway.errors import RefusedError
from gateway.listeners.closing import LINGER_S
from gateway.listeners.held import ENOUGH_MS, Held
from gateway.listeners.outlet import Outlet
from gateway.listeners.pairing import Pairing
from gateway.listeners.raw import end_all, open_session
from gateway.metrics import SESSIONS_REFUSED
from gateway.protocols.pcm import BlockPadder, SampleAligner
from gateway.raw_driver import RawDriver
from gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

# A client that has made one of its two connections has so long for the other.
ORPHAN_S: Final = 10.0
# Time between tries to reach a client that does not listen yet.
RETRY_S: Final = 0.25
# Connections waiting to be accepted; the suite of a whole site may come back at once.
ACCEPT_QUEUE: Final = 512

# Connections that wait for their other half at a time; more are closed at once.
HALVES: Final = 512
# A client whose machine has vanished while nothing is sent to it is noticed after 30 + 3 * 10 s.
KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", 0), 30),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", 0), 10),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", 0), 3),
)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class TcpClient:
    """A client of the socket mode, as the driver sees it."""

    def __init__(self, speaking: Streams, listening: Streams) -> None:
        self.reader = speaking[0]
        self._writers = (speaking[1], listening[1])
        self._padder = BlockPadder()
        self.outlet = Outlet(self._write, self._backlog)
        self.gone = asyncio.Event()
        self.driver: RawDriver | None = None

    def play(self, pcm: bytes) -> None:
        """Send audio of the answer."""
        self._padder.sent(pcm)
        self.outlet.put(pcm)

    def play_ended(self, *, stopped: bool) -> None:
        """Complete the answer's last block."""
        if stopped:
            self._padder.dropped(self.outlet.drop_audio())
        padding = self._padder.padding()
        if padding:
            self.outlet.put(padding)

    def notify(self, notice: do.Notice) -> None:
        """Say nothing: this mode carries nothing but pcm."""

    def latency(self, turn_id: int, spent_ms: dict[str, float]) -> None:
        """Say nothing."""

    def disconnect(self, reason: str, *, try_again: bool = False) -> None:  # noqa: ARG002 - no place for it here
        """Close both connections."""
        self.gone.set()

    def leave(self) -> None:
        """Close both connections when everything is written: the server stops."""
        self.outlet.end()

    def close(self) -> None:
        """Close both connections without waiting for the client."""
        for writer in self._writers:
            writer.close()
        asyncio.get_running_loop().call_later(LINGER_S, self.abort)

    def abort(self) -> None:
        """Drop what was not written and close."""
        for writer in self._writers:
            writer.transport.abort()

    async def _write(self, item: bytes | str) -> None:
        if isinstance(item, bytes):
            writer = self._writers[1]
            if writer.is_closing():  # uvloop raises a RuntimeError for a write that comes too late
                raise ConnectionResetError
            writer.write(item)
            await writer.drain()

    def _backlog(self, ms: float) -> None:
        if self.driver is not None:
            self.driver.backlog(ms)


class TcpListener:
    """Accepts both kinds of connections, pairs them, and runs a session for each pair."""

    def __init__(self, link: BusLink, settings: GatewaySettings) -> None:
        self._link = link
        self._settings = settings
        self._pairing: Pairing[Streams] = Pairing()
        self._receiver: asyncio.Server | None = None
        self._sender: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting = 0
        self.receiving_on = ""
        self.sending_on = ""

    async def start(self) -> None:
        """Bind the addresses.

        Raises:
            ConfigurationError: an address is unknown or taken; names the flag to change.
        """
        settings = self._settings
        self._receiver = await _listen(self._speaks, settings.recv_host, settings.recv_port, "recv")
        self.receiving_on = _where(self._receiver)
        if settings.send_mode != "connect":
            try:
                self._sender = await _listen(self._listens, settings.send_host, settings.send_port, "send")
            except _AddressTakenError:
                if settings.send_mode == "listen":
                    await self.stop()
                    raise
            except ConfigurationError:
                await self.stop()
                raise
        self.sending_on = (
            f"listening on {_where(self._sender)}"
            if self._sender is not None
            else f"connecting to {settings.send_host}:{settings.send_port}"
        )

    def stop_listening(self) -> None:
        """Let nobody in any more. Who is here stays."""
        for server in (self._receiver, self._sender):
            if server is not None:
                server.close()

    async def stop(self) -> None:
        """Stop accepting and end every session."""
        self.stop_listening()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- the two kinds of connections ---------------------------------------------------------------------------------

    async def _speaks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        streams = reader, writer
        stay_awake(writer)
        if self._sender is None:
            if self._connecting >= HALVES:
                send_away(writer)
                return
            self._connecting += 1
            self._spawn(self._connect_back(streams))
            return
        pair = self._pairing.speaks(_peer(writer), streams)
        while pair is not None and _has_left(pair[1]):
            pair = self._pairing.speaks(_peer(writer), streams)
        self._paired_or_waiting(pair, streams)

    async def _listens(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        streams = reader, writer
        stay_awake(writer)
        pair = self._pairing.listens(_peer(writer), streams)
        while pair is not None and _has_left(pair[0]):
            pair = self._pairing.listens(_peer(writer), streams)
        self._paired_or_waiting(pair, streams)

    def _paired_or_waiting(self, pair: tuple[Streams, Streams] | None, streams: Streams) -> None:
        if pair is not None:
            self._spawn(self._converse(*pair))
        elif len(self._pairing) > HALVES:
            self._pairing.forget(streams)
            send_away(streams[1])
        else:
            self._spawn(self._orphan(streams))

    async def _orphan(self, streams: Streams) -> None:
        try:
            await asyncio.sleep(ORPHAN_S)
        finally:
            if self._pairing.forget(streams):
                log.info("client closed", why="its other connection did not come", peer=_peer(streams[1]))
                SESSIONS_REFUSED.labels("unpaired").inc()
                streams[1].close()

    async def _connect_back(self, speaking: Streams) -> None:
        """Connect to the client's own listener, trying for as long as an orphan may wait."""
        try:
            listening = await self._reach(speaking)
        except asyncio.CancelledError:
            speaking[1].close()
            raise
        finally:
            self._connecting -= 1
        if listening is not None:
            stay_awake(listening[1])
            await self._converse(speaking, listening)

    async def _reach(self, speaking: Streams) -> Streams | None:
        """Return the connection to the client's own listener, or None after closing the one it made."""
        host, port = self._settings.send_host, self._settings.send_port
        deadline = asyncio.get_running_loop().time() + ORPHAN_S
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    return await asyncio.open_connection(host, port)
            except OSError as error:  # a TimeoutError is one
                if asyncio.get_running_loop().time() > deadline:
                    log.warning("client closed", why=f"nobody listens on {host}:{port}", error=str(error))
                    SESSIONS_REFUSED.labels("unpaired").inc()
                    speaking[1].close()
                    return None
                await asyncio.sleep(RETRY_S)

    # -- a session ----------------------------------------------------------------------------------------------------

    async def _converse(self, speaking: Streams, listening: Streams) -> None:
        client = TcpClient(speaking, listening)
        try:
            driver = client.driver = open_session(self._link, self._settings, client)
        except RefusedError as refused:
            log.warning("client refused", why=str(refused), peer=_peer(speaking[1]))
            client.close()
            return
        tasks = [
            asyncio.ensure_future(work)
            for work in (
                self._hear(client, driver),
                client.outlet.run(),
                _until_closed(listening[0]),
                client.gone.wait(),
            )
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            driver.close()
            try:
                await end_all(tasks)
            finally:  # also if the listener stops just now
                client.abort() if client.gone.is_set() else client.close()

    async def _hear(self, client: TcpClient, driver: RawDriver) -> None:
        """Feed the session until the client ends its input, then until it has its last answer."""
        aligner = SampleAligner()
        held = Held(driver.hear, lambda: driver.patient)
        try:
            with suppress(ConnectionError):
                while data := await client.reader.read(self._settings.chunk_size):
                    pcm = aligner.push(data)
                    if pcm and len(pcm) <= BLOCK_BYTES and driver.wants_audio:
                        held.put(pcm, ENOUGH_MS * BYTES_PER_MS)
                    elif pcm:
                        held.pour()  # it came before
                        await driver.feed(pcm)
            held.pour()
        finally:
            held.close()
        await driver.finish()
        client.outlet.end()
        await asyncio.sleep(ORPHAN_S)  # the outlet ends first, unless the client does not read

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("client failed", exc_info=error)


class _AddressTakenError(ConfigurationError):
    """The address is another machine's, or something listens on it already."""


async def _listen(accept: object, host: str, port: int, flag: str) -> asyncio.Server:
    try:
        return await asyncio.start_server(accept, host, port, backlog=ACCEPT_QUEUE)  # type: ignore[arg-type]
    except socket.gaierror as error:
        raise ConfigurationError(f"host {host!r} is unknown; change --{flag}_host") from error
    except OSError as error:
        message = f"cannot listen on {host}:{port} ({_reason(error)}); change --{flag}_host or --{flag}_port"
        raise _AddressTakenError(message) from error


def _reason(error: OSError) -> str:
    known = {
        errno.EADDRINUSE: "the port is taken",
        errno.EADDRNOTAVAIL: "not an address of this machine",
        errno.EACCES: "not permitted",
    }
    return known.get(error.errno or 0, str(error))


def _where(server: asyncio.Server) -> str:
    return ", ".join("{}:{}".format(*s.getsockname()[:2]) for s in server.sockets)


def send_away(writer: asyncio.StreamWriter) -> None:
    """Close a connection that there is no room for."""
    SESSIONS_REFUSED.labels("too many connections").inc()
    writer.transport.abort()


def stay_awake(writer: asyncio.StreamWriter) -> None:
    """Have the kernel ask a silent client now and then whether it is still there."""
    with suppress(OSError, ValueError):  # it is not
        sock = writer.get_extra_info("socket")
        for level, option, value in KEEPALIVE if sock is not None else ():
            if option:
                sock.setsockopt(level, option, value)


def _peer(writer: asyncio.StreamWriter) -> str:
    try:
        peer = writer.get_extra_info("peername")
    except (OSError, ValueError):  # uvloop asks the socket, which may be closed
        peer = None
    return str(peer[0]) if peer else ""


def _has_left(streams: Streams) -> bool:
    """Tell whether the client has closed a connection that waited for its other half; if so, close our side.

    Who has spoken, and closed only then, may still come to listen.
    """
    reader, writer = streams
    if not reader.at_eof() and reader.exception() is None:
        return False
    writer.close()
    return True


async def _until_closed(reader: asyncio.StreamReader) -> None:
    """Return when the client closes the connection it listens on; what it sends there is nobody's."""
    with suppress(ConnectionError):
        while await reader.read(4096):
            pass
