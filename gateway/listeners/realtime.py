"""`--mode realtime`: the OpenAI Realtime protocol at `/v1/realtime`, on the port of the WebSocket server."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

import structlog
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.bus_link import BusLink
from gateway.core.events import Role
from gateway.core.realtime.client_events import AppendAudio, ClientEvent, SessionExpired
from gateway.core.realtime.config import (
    ResponseConfig,
    SessionConfig,
    Transcription,
    TurnDetection,
)
from gateway.core.realtime.notices import AudioDelta, Notice, Rejected, ResponseDone, SessionOver
from gateway.core.response import Status
from gateway.errors import RefusedError
from gateway.listeners.admission import Admission
from gateway.listeners.closing import (
    GOING_AWAY,
    INTERNAL_ERROR,
    LINGER_S,
    POLICY_VIOLATION,
    TRY_AGAIN_LATER,
    close,
)
from gateway.listeners.held import ENOUGH_MS, Held
from gateway.listeners.protocol import send_at_once, take_at_once
from gateway.listeners.raw import STOPPING, end_all
from gateway.listeners.realtime_http import RealtimeHttp
from gateway.listeners.realtime_outlet import RealtimeOutlet
from gateway.listeners.writing import write
from gateway.metrics import SESSIONS_REFUSED
from gateway.protocols.realtime.codec import Codec
from gateway.protocols.realtime.dialect import Dialect, api_key, choose, subprotocol
from gateway.protocols.realtime.errors import EventError
from gateway.protocols.realtime.values import DEFAULT_VOICE, Rules
from gateway.realtime_driver import RealtimeDriver
from gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

# As clients append to the base URL that they were given, and as Azure's do.
PREFIXES: Final = ("/v1", "", "/openai/v1")

# Close code of a client that cannot be served as it asks; the protocol's own.
FATAL_ERROR: Final = 3000

# A client may save up so many seconds of `max_events_per_s`: the replay of a long history at the start.
BURST_S: Final = 2.0
DEFAULT_MODEL: Final = "speech-to-speech"


class Session(Protocol):
    """What serves a client, as the listener sees it."""

    @property
    def session_id(self) -> str:
        """The session's name on the bus and in logs."""
        ...

    @property
    def config(self) -> SessionConfig:
        """The settings in force."""
        ...

    @property
    def wants_audio(self) -> bool:
        """Whether there is room for audio."""
        ...

    @property
    def patient(self) -> bool:
        """Whether audio may wait a moment."""
        ...

    def open(self, max_sessions: int) -> None:
        """Take the session's places."""
        ...

    def hear(self, event: AppendAudio) -> None:
        """Take a little audio, while there is room."""
        ...

    async def receive(self, event: ClientEvent) -> None:
        """Take an event of the client; wait while its audio is too far ahead."""
        ...

    def close(self) -> None:
        """End the session."""
        ...


class RealtimeClient:
    """A Realtime client, as the driver sees it."""

    def __init__(self, websocket: WebSocket, codec: Codec) -> None:
        self._websocket = websocket
        self._codec = codec
        self.outlet = RealtimeOutlet(partial(write, websocket), self._too_slow, partial(send_at_once, websocket))
        self.gone = asyncio.Event()
        self.gone_code, self.gone_reason = INTERNAL_ERROR, ""

    def open(self, config: SessionConfig) -> None:
        """Say what the session is."""
        for frame in self._codec.opening(config):
            self.outlet.put(frame)

    def notify(self, notice: Notice) -> None:
        """Send the event; what is left of a cancelled answer's audio is not sent any more."""
        if self.gone.is_set():
            return
        if isinstance(notice, AudioDelta):
            for frame in self._codec.write(notice):
                self.outlet.put(frame, notice.response_id)
            return
        if isinstance(notice, ResponseDone) and notice.response.status is Status.CANCELLED:
            self.outlet.drop_audio(notice.response.id)
        for frame in self._codec.write(notice):
            self.outlet.put(frame)
        if isinstance(notice, SessionOver):
            self.close(notice.code, notice.reason)

    def disconnect(self, reason: str, *, try_again: bool = False) -> None:
        """Say why, and close the connection."""
        error = Rejected("session_limit_reached" if try_again else None, reason, type="server_error")
        code = TRY_AGAIN_LATER if try_again else INTERNAL_ERROR
        try:
            self.notify(SessionOver(error, code, reason))
        finally:  # also if that cannot be written
            self.close(code, reason)

    def leave(self) -> None:
        """Say that the server stops, and close the connection."""
        self.close(GOING_AWAY, STOPPING)

    def close(self, code: int, reason: str) -> None:
        """Close the connection with *code* when everything is written."""
        if not self.gone.is_set():
            self.gone_code, self.gone_reason = code, reason
            self.outlet.end()
            self.gone.set()

    def _too_slow(self) -> None:
        self.close(POLICY_VIOLATION, "the client does not read")


class Allowance:
    """How many events a client may send: *per_s* for ever, `BURST_S` of that at once. Times are those of one clock."""

    def __init__(self, per_s: float) -> None:
        self._apart_s = 1 / per_s
        self._free_at_s = float("-inf")  # when the next event need not wait any more

    def wait_s(self, now_s: float) -> float:
        """Return how many seconds an event has to wait that comes now. Asking changes nothing."""
        return max(0.0, self._free_at_s - now_s)

    def count(self, now_s: float) -> None:
        """Count an event that comes now, whether it waits or not."""
        self._free_at_s = max(self._free_at_s, now_s - BURST_S + self._apart_s) + self._apart_s


class RealtimeListener:
    """The routes of the Realtime protocol."""

    def __init__(self, link: BusLink, settings: GatewaySettings, admission: Admission) -> None:
        self._link = link
        self._settings = settings
        self._admission = admission
        self._clients: set[RealtimeClient] = set()
        http = RealtimeHttp(admission, self.rules, self._models)
        self.routes: list[BaseRoute] = []
        for prefix in PREFIXES:
            self.routes += [
                WebSocketRoute(f"{prefix}/realtime", self._converse),
                Route(f"{prefix}/models", http.models, methods=["GET"]),
                Route(f"{prefix}/realtime/client_secrets", http.client_secrets, methods=["POST"]),
                Route(f"{prefix}/realtime/sessions", http.sessions, methods=["POST"]),
                Route(f"{prefix}/realtime/transcription_sessions", http.transcription_sessions, methods=["POST"]),
            ]

    def stop(self) -> None:
        """Say goodbye to every client."""
        for client in list(self._clients):
            client.leave()

    def rules(self, dialect: Dialect, model: str = "") -> Rules:
        """Return what a new session's settings are, and what they are checked against."""
        settings = self._settings
        defaults = SessionConfig(
            model=model or self._models()[0],
            response=ResponseConfig(instructions=settings.instructions, voice=settings.voice or DEFAULT_VOICE),
            turn_detection=TurnDetection(
                threshold=settings.threshold,
                prefix_padding_ms=settings.prefix_padding_ms,
                silence_duration_ms=settings.silence_duration_ms,
            ),
        )
        recogniser = next(iter(self._announced(Role.ASR)), "default")
        return Rules(dialect, defaults, self._link.voices(), Transcription(recogniser, settings.language))

    def _models(self) -> list[str]:
        return [*dict.fromkeys((*self._announced(Role.LLM), DEFAULT_MODEL))]

    def _announced(self, role: Role) -> list[str]:
        replicas = (r for r in self._link.registry.all() if r.role is role and r.usable)
        return [r.said.model or r.said.engine for r in replicas if r.said.model or r.said.engine]

    async def _converse(self, websocket: WebSocket) -> None:
        if not self._admission.allows_origin(websocket.headers.get("origin")):
            SESSIONS_REFUSED.labels("origin").inc()
            await websocket.close()  # before it is accepted: HTTP 403
            return
        offered = websocket.scope.get("subprotocols", [])
        dialect = choose(websocket.headers, offered)
        await websocket.accept(subprotocol(offered))
        key = api_key(websocket.headers, offered)
        query = websocket.query_params
        rules = self.rules(dialect, query.get("model", ""))
        beta = not dialect.types_are_required
        minutes = self._settings.beta_session_minutes if beta else self._settings.session_minutes
        codec = Codec(rules, int(time.time() + minutes * 60))
        client = RealtimeClient(websocket, codec)
        config = self._admission.session_of(key) or _starting_config(rules, query)
        driver: Session = RealtimeDriver(self._link, client, config, self._settings)
        refusal = self._refusal(key, query, driver)
        if refusal is not None:
            client.notify(refusal)
            with suppress(WebSocketDisconnect, RuntimeError, OSError):
                await client.outlet.run()
            await close(websocket, client.gone_code, client.gone_reason)
            return
        log.info("realtime client", session=driver.session_id, realtime_session=codec.session_id, dialect=dialect.name)
        self._clients.add(client)
        client.open(driver.config)
        writing = asyncio.ensure_future(client.outlet.run())
        ear = _Ear(websocket, client, codec, driver, Allowance(self._settings.max_events_per_s))
        take_at_once(websocket, ear.take)
        tasks = [
            writing,
            *(
                asyncio.ensure_future(work)
                for work in (
                    ear.run(),
                    _expire(client, driver, minutes),
                    client.gone.wait(),
                )
            ),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if client.gone.is_set():
                await asyncio.wait([writing], timeout=LINGER_S)
        finally:
            self._clients.discard(client)
            ear.close()
            driver.close()
            await end_all(tasks)
            await close(websocket, client.gone_code, client.gone_reason)

    def _refusal(self, key: str, query: Mapping[str, str], driver: Session) -> SessionOver | None:
        """Open the session; return why it cannot be, None if it is open."""
        if not self._admission.admits(key):
            SESSIONS_REFUSED.labels("invalid key").inc()
            message = "Incorrect API key provided." if key else "Missing API key."
            error = Rejected("invalid_api_key", message)
            return SessionOver(error, FATAL_ERROR, "invalid_request_error.invalid_api_key")
        if "call_id" in query:
            error = Rejected("invalid_value", "There are no calls here: WebRTC and SIP are not served.", "call_id")
            return SessionOver(error, FATAL_ERROR, "invalid_request_error.invalid_value")
        try:
            driver.open(self._settings.max_sessions)
        except RefusedError as refused:
            log.warning("client refused", why=str(refused))
            SESSIONS_REFUSED.labels(str(refused).partition(":")[0]).inc()
            error = Rejected("session_limit_reached", f"No session can begin now: {refused}.", type="server_error")
            return SessionOver(error, TRY_AGAIN_LATER, str(refused))
        return None


def _starting_config(rules: Rules, query: Mapping[str, str]) -> SessionConfig:
    if query.get("intent") != "transcription":
        return rules.defaults
    return replace(rules.defaults, type="transcription", transcription=rules.transcription)


class _Ear:
    """Gives a session what its client sends: short audio at once where it can be, all else one event after the other.

    What comes faster than the client's allowance waits, and so does audio that the session has no room for.
    """

    def __init__(
        self, websocket: WebSocket, client: RealtimeClient, codec: Codec, driver: Session, allowance: Allowance
    ) -> None:
        self._websocket = websocket
        self._client = client
        self._codec = codec
        self._driver = driver
        self._allowance = allowance
        self._loop = asyncio.get_running_loop()
        self._held = Held(self._hear, lambda: driver.patient)
        self._event_id: str | None = None  # of the last append

    def take(self, message: bytes, is_text: bool) -> bool:
        """Use *message* at once, if it is a little audio and need not wait."""
        driver, now_s = self._driver, self._loop.time()
        if not is_text or not driver.wants_audio or self._allowance.wait_s(now_s):
            return False
        append = self._codec.append(message, driver.config)
        if append is None:
            return False
        self._allowance.count(now_s)
        self._event_id = append.event_id
        self._held.put(append.audio, driver.config.input_format.bytes_per_s * ENOUGH_MS // 1000)
        return True

    def close(self) -> None:
        """Hear nothing more."""
        self._held.close()

    def _hear(self, audio: bytes) -> None:
        self._driver.hear(self._codec.heard(audio, self._event_id, self._driver.config))

    async def run(self) -> None:
        """Give the session what the client sends, until the client closes."""
        while True:
            try:
                message: Any = await self._websocket.receive()
            except (WebSocketDisconnect, RuntimeError):
                return
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            now_s = self._loop.time()
            wait_s = self._allowance.wait_s(now_s)
            self._allowance.count(now_s)
            if wait_s:
                await asyncio.sleep(wait_s)
            await self._give(message["bytes"] if text is None else text)

    async def _give(self, text: str | bytes) -> None:
        self._held.pour()  # it came before
        try:
            for number, event in enumerate(self._codec.read(text, self._driver.config)):
                if number:
                    await asyncio.sleep(0)  # minutes of audio in one event: others are served meanwhile
                await self._driver.receive(event)
        except EventError as error:
            self._client.notify(error.notice())


async def _expire(client: RealtimeClient, driver: Session, minutes: float) -> None:
    """End the session when its time is over."""
    await asyncio.sleep(minutes * 60)
    await driver.receive(SessionExpired(round(minutes)))
    await client.gone.wait()
