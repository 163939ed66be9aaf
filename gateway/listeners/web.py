"""The port `ws_port`: HTTP routes, `--mode websocket` at `/` (raw pcm both ways), and the routes of `--mode realtime`.

16 kHz mono s16le in binary messages of any size. Only clients that ask with `?events=1` get JSON text messages.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from bus.errors import ConfigurationError
from gateway.bus_link import BusLink
from gateway.core import commands as do
from gateway.core.input import BLOCK_BYTES, BYTES_PER_MS
from gateway.errors import RefusedError, UnknownNameError
from gateway.listeners.admission import Admission, check_certificate, is_loopback
from gateway.listeners.closing import GOING_AWAY, POLICY_VIOLATION, TRY_AGAIN_LATER, close
from gateway.listeners.door import HEADER_BYTES, SPARE, Door
from gateway.listeners.held import ENOUGH_MS, Held
from gateway.listeners.outlet import Outlet
from gateway.listeners.protocol import WebSocketProtocol, take_at_once
from gateway.listeners.raw import STOPPING, end_all, open_session
from gateway.listeners.realtime import RealtimeListener
from gateway.listeners.writing import write
from gateway.metrics import SESSIONS_REFUSED
from gateway.protocols import raw_events
from gateway.protocols.pcm import SampleAligner
from gateway.protocols.realtime.dialect import api_key
from gateway.raw_driver import RawDriver
from gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

# Pings find clients that vanished without a word. A blocked client (a debugger, a sleeping laptop) gets a minute.
PING_INTERVAL_S: Final = 20.0
PING_TIMEOUT_S: Final = 60.0


class WebSocketClient:
    """A client of the raw WebSocket, as the driver sees it."""

    def __init__(self, websocket: WebSocket, *, events: bool) -> None:
        self._websocket = websocket
        self._events = events
        self.outlet = Outlet(self._write, self._backlog)
        self.gone = asyncio.Event()
        self.gone_code, self.gone_reason = POLICY_VIOLATION, ""
        self.driver: RawDriver | None = None

    def play(self, pcm: bytes) -> None:
        """Send audio of the answer."""
        self.outlet.put(pcm)

    def play_ended(self, *, stopped: bool) -> None:
        """Drop what has not been written of an answer that was stopped."""
        if stopped:
            self.outlet.drop_audio()

    def notify(self, notice: do.Notice) -> None:
        """Send an event."""
        self.event(raw_events.notice_event(notice) if self._events else "")

    def latency(self, turn_id: int, spent_ms: dict[str, float]) -> None:
        """Send an event."""
        self.event(raw_events.latency_event(turn_id, spent_ms) if self._events else "")

    def event(self, text: str) -> None:
        """Send the event *text* if the client wants events."""
        if self._events and text:
            self.outlet.put(text)

    def disconnect(self, reason: str, *, try_again: bool = False) -> None:
        """Close the connection."""
        self.close(TRY_AGAIN_LATER if try_again else POLICY_VIOLATION, reason)

    def leave(self) -> None:
        """Close the connection when everything is written: the server stops."""
        self.gone_code, self.gone_reason = GOING_AWAY, STOPPING
        self.outlet.end()

    def close(self, code: int, reason: str) -> None:
        """Close the connection with *code*."""
        self.gone_code, self.gone_reason = code, reason
        self.gone.set()

    async def _write(self, item: bytes | str) -> None:
        await write(self._websocket, item)

    def _backlog(self, ms: float) -> None:
        if self.driver is not None:
            self.driver.backlog(ms)


class WebListener:
    """Serves HTTP and WebSockets on one port."""

    def __init__(self, link: BusLink, settings: GatewaySettings) -> None:
        self._link = link
        self._settings = settings
        self._admission = Admission(settings)
        self._realtime = RealtimeListener(link, settings, self._admission)
        self._clients: set[WebSocketClient] = set()
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.listening_on = ""

    async def start(self) -> None:
        """Bind the address and serve.

        Raises:
            ConfigurationError: the address is unknown or taken, or the certificate is of no use; names the flag to
                change.
        """
        check_certificate(self._settings)
        sock = _bind(self._settings.ws_host, self._settings.ws_port)
        if not self._admission.wants_key and not is_loopback(self._settings.ws_host):
            log.warning("anybody who reaches this port may talk here; set --api_keys", host=self._settings.ws_host)
        self.listening_on = "{}:{}".format(*sock.getsockname()[:2])
        routes: list[BaseRoute] = [Route("/health", self._health)]
        if "websocket" in self._settings.mode:
            routes.append(WebSocketRoute("/", self._converse))
        if "realtime" in self._settings.mode:
            routes += self._realtime.routes
        config = uvicorn.Config(
            Starlette(routes=routes),
            http=Door,
            h11_max_incomplete_event_size=HEADER_BYTES,
            limit_concurrency=self._settings.max_sessions + SPARE,
            ws=WebSocketProtocol,
            ws_max_size=self._settings.max_message_bytes,
            ws_ping_interval=PING_INTERVAL_S,
            ws_ping_timeout=PING_TIMEOUT_S,
            ws_per_message_deflate=False,  # pcm does not shrink, and deflate costs more than all the rest
            lifespan="off",
            log_config=None,
            access_log=False,
            log_level="warning",  # we log sessions ourselves
            ssl_certfile=self._settings.ssl_certfile or None,
            ssl_keyfile=self._settings.ssl_keyfile or None,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[sock]))

    def stop_listening(self) -> None:
        """Let nobody in any more. Who is here stays."""
        for server in self._server.servers if self._server is not None else ():
            server.close()

    async def stop(self) -> None:
        """Say goodbye to every client and stop serving."""
        for client in list(self._clients):
            client.close(GOING_AWAY, STOPPING)
        self._realtime.stop()
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving

    async def _health(self, _request: Request) -> JSONResponse:
        problem = self._link.not_ready()
        services = [
            {
                "role": replica.role.value,
                "instance": replica.said.instance_id,
                "engine": replica.said.engine,
                "model": replica.said.model,
                "ready": replica.usable,
                "leases": replica.said.leases,
                "places": len(replica.places),
                "capacity": replica.said.capacity,
            }
            for replica in self._link.registry.all()
        ]
        body = {"status": problem or "ok", "sessions": self._link.sessions, "services": services}
        return JSONResponse(body, status_code=503 if problem else 200)

    async def _converse(self, websocket: WebSocket) -> None:
        if not self._may_enter(websocket):
            await websocket.close()  # before it is accepted: HTTP 403
            return
        await websocket.accept()
        client = WebSocketClient(websocket, events=websocket.query_params.get("events") == "1")
        try:
            driver = client.driver = open_session(self._link, self._settings, client, websocket.query_params)
        except UnknownNameError as unknown:
            await close(websocket, POLICY_VIOLATION, str(unknown))
            return
        except RefusedError as refused:
            log.warning("client refused", why=str(refused))
            await close(websocket, TRY_AGAIN_LATER, str(refused))
            return
        self._clients.add(client)
        client.event(raw_events.session_event(driver.session_id))
        ear = _Ear(websocket, client, driver)
        take_at_once(websocket, ear.take)
        tasks = [asyncio.ensure_future(work) for work in (ear.run(), client.outlet.run(), client.gone.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients.discard(client)
            ear.close()
            driver.close()
            await end_all(tasks)
            await close(websocket, client.gone_code, client.gone_reason)

    def _may_enter(self, websocket: WebSocket) -> bool:
        origin_fits = self._admission.allows_origin(websocket.headers.get("origin"))
        if origin_fits and self._admission.knows(api_key(websocket.headers, ())):
            return True
        SESSIONS_REFUSED.labels("invalid key" if origin_fits else "origin").inc()
        return False


class _Ear:
    """Feeds a session what its client says: at once where it can, else one message after the other."""

    def __init__(self, websocket: WebSocket, client: WebSocketClient, driver: RawDriver) -> None:
        self._websocket = websocket
        self._client = client
        self._driver = driver
        self._aligner = SampleAligner()
        self._held = Held(driver.hear, lambda: driver.patient)

    def take(self, message: bytes, is_text: bool) -> bool:
        """Use *message* at once, if it is audio and there is room for it."""
        if is_text or not self._driver.wants_audio or not 0 < len(message) <= BLOCK_BYTES:
            return False
        pcm = self._aligner.push(message)
        if pcm:
            self._held.put(pcm, ENOUGH_MS * BYTES_PER_MS)
        return True

    def close(self) -> None:
        """Hear nothing more."""
        self._held.close()

    async def run(self) -> None:
        """Feed the session until the client closes."""
        with suppress(WebSocketDisconnect):
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                data = message.get("bytes")
                if data is None:
                    told = "text is not understood here; send 16 kHz mono s16le as binary"
                    self._client.event(raw_events.error_event(told))
                    continue
                self._held.pour()  # it came before
                pcm = self._aligner.push(data)
                if pcm:
                    await self._driver.feed(pcm)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ConfigurationError(f"host {host!r} is unknown; change --ws_host") from error
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(512)
    except OSError as error:
        sock.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({error.strerror}); change --ws_host or --ws_port"
        ) from error
    sock.setblocking(False)
    return sock
