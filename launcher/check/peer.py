"""The kit's end of the bus: a gateway that is nothing but an inbox, and a second inbox in the next service's place.

It looks at bytes itself, so that it sees what a `bus.node.Node` would drop: messages that are no frames, frames of
sessions that nobody opened. What comes is kept per session while the session is open, `MOST_FRAMES` of each.
"""

import asyncio
import itertools
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from bus.curve import Keys
from bus.errors import ConfigurationError, MalformedFrameError
from bus.frames import Frame, Header, decode
from bus.node import reachable
from bus.sockets import Context, Outbox
from launcher.check.rule import BrokenRuleError
from launcher.errors import UsageError
from proto.v1 import speech_pb2 as pb

# An hour of 40 ms frames. What a session sends beyond it is counted against it, and not kept.
MOST_FRAMES: Final = 100_000
MOST_ODDITIES: Final = 100
MOST_BEATS: Final = 10_000
TRACEPARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass(frozen=True, slots=True)
class Received:
    """A frame that came at *at_s* (loop time); *passed_on*: to the inbox of the next service."""

    at_s: float
    body: str
    frame: Frame
    passed_on: bool


@dataclass(frozen=True, slots=True)
class Beat:
    """An announcement, and when it came (loop time)."""

    at_s: float
    announcement: pb.Announcement


@dataclass(slots=True)
class Oddities:
    """What no service should send: the first `MOST_ODDITIES` of it, in words."""

    seen: list[str] = field(default_factory=list)

    def add(self, what: str) -> None:
        """Remember *what*."""
        if len(self.seen) < MOST_ODDITIES:
            self.seen.append(what)


class Peer:
    """Binds the inboxes, sends frames, sorts what comes. Close it when done. With *keys*, tcp connections speak CURVE.

    Raises:
        UsageError: the inbox cannot be bound.
    """

    def __init__(self, inbox: str, keys: Keys | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = Context(keys)
        self._outboxes: dict[str, Outbox] = {}
        self._sessions: dict[str, Session] = {}
        self._known: set[str] = set()
        self._numbers = itertools.count(1)
        self._run = uuid.uuid4().hex[:6]
        self._arrived = asyncio.Event()
        self.beats: list[Beat] = []
        self.oddities = Oddities()
        self.nameless: list[Received] = []
        """Errors about frames that named no session."""
        try:
            self._inbox = self._context.inbox(inbox, self._take)
            self.address = reachable(self._inbox.address)
            self._next = self._context.inbox(_beside(self.address), self._take_passed_on)
        except ConfigurationError as error:
            self._context.close()
            raise UsageError(str(error).replace("--bind", "--inbox")) from error
        self.next_address = self._next.address

    def session(self, session_id: str = "") -> "Session":
        """Open a new session of the kit."""
        opened = Session(self, session_id or f"check-{self._run}-{next(self._numbers)}")
        self._sessions[opened.id] = opened
        self._known.add(opened.id)
        return opened

    def forget(self, session: "Session") -> None:
        """Keep nothing more of what comes for *session*."""
        self._sessions.pop(session.id, None)

    @property
    def sessions(self) -> list["Session"]:
        """The sessions that are open."""
        return list(self._sessions.values())

    def send(self, address: str, data: bytes) -> None:
        """Push *data*, which need not be a frame. Never blocks."""
        if address not in self._outboxes:
            try:
                self._outboxes[address] = self._context.outbox(address)
            except ConfigurationError as error:
                raise UsageError(str(error)) from error
        self._outboxes[address].send(data)

    async def arrival(self) -> None:
        """Wait until something more has come."""
        self._arrived.clear()
        await self._arrived.wait()

    def close(self) -> None:
        """Close every socket."""
        self._inbox.close()
        self._next.close()
        for outbox in self._outboxes.values():
            outbox.close()
        self._context.close()

    def _take(self, batch: list[bytes]) -> None:
        for data in batch:
            self._sort(data, passed_on=False)
        self._arrived.set()

    def _take_passed_on(self, batch: list[bytes]) -> None:
        for data in batch:
            self._sort(data, passed_on=True)
        self._arrived.set()

    def _sort(self, data: bytes, *, passed_on: bool) -> None:
        try:
            body, frame = decode(data)
        except MalformedFrameError as error:
            self.oddities.add(f"{len(data)} bytes that are no good frame: {error}")
            return
        session_id = frame.header.session_id
        if body == "announcement":
            if len(self.beats) < MOST_BEATS:
                self.beats.append(Beat(self._loop.time(), frame.announcement))
        elif session := self._sessions.get(session_id):
            session.take(Received(self._loop.time(), body, frame, passed_on))
        elif body == "error" and not session_id:
            self.nameless.append(Received(self._loop.time(), body, frame, passed_on))
        elif session_id not in self._known:
            self.oddities.add(f"{body} of a session that nobody opened ({session_id!r})")


class Session:
    """One client's connection, as the kit plays it: sends with the right header, keeps what came in order."""

    def __init__(self, peer: Peer, session_id: str) -> None:
        self.id = session_id
        self.address = ""
        self.patience_s = 0.0
        self.renewed = True
        """Whether the kit renews its leases, as a gateway does."""
        self.frames: list[Received] = []
        self._peer = peer
        self._taken = 0

    def header(self, **fields: Any) -> Header:
        """Return a header of this session, with the kit's inbox in it, and with *fields*."""
        told = {"session_id": self.id, "traceparent": TRACEPARENT, "reply_to": self._peer.address, **fields}
        return Header(**told)

    def send(self, header: Header | None = None, /, **body: Any) -> None:
        """Send one body, given by keyword."""
        self.send_bytes(Frame(header=header or self.header(), **body).SerializeToString())

    def send_bytes(self, data: bytes) -> None:
        """Send what need not be a frame."""
        self._peer.send(self.address, data)

    def take(self, received: Received) -> None:
        """Keep a frame of this session."""
        if len(self.frames) >= MOST_FRAMES:
            self._peer.oddities.add(f"more than {MOST_FRAMES} frames in a session")
        else:
            self.frames.append(received)

    async def next(self, *bodies: str, passed_on: bool = False, within_s: float = 0.0) -> Received:
        """Return the next frame with one of *bodies*, passing over others.

        Raises:
            BrokenRuleError: none came in time; or an error or refusal that was not asked for.
        """
        within_s = within_s or self.patience_s
        try:
            async with asyncio.timeout(within_s):
                while True:
                    while self._taken < len(self.frames):
                        received = self.frames[self._taken]
                        self._taken += 1
                        if received.body in bodies and received.passed_on is passed_on:
                            return received
                        if received.body in {"error", "refusal"}:
                            raise BrokenRuleError(f"{in_words(received.frame)} instead of {' or '.join(bodies)}")
                    await self._peer.arrival()
        except TimeoutError:
            came = ", ".join(f"{count} {body}" for body, count in self.counts().items()) or "nothing"
            raise BrokenRuleError(f"no {' or '.join(bodies)} within {within_s:g} s; came: {came}") from None

    def of(self, *bodies: str) -> list[Received]:
        """Return every answer so far with one of *bodies*."""
        return [one for one in self.frames if one.body in bodies and not one.passed_on]

    async def passed_on(self, *bodies: str, up_to: Callable[[Frame], object]) -> list[Received]:
        """Return every frame with one of *bodies* (any, if none is named) that went to the next service.

        Answers do not tell that it has come, because it comes on another socket: waits until a frame is there of which
        *up_to* holds. If none comes in time, what did come is returned, and has to be judged.
        """
        found: list[Received] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(self.patience_s):
                while True:
                    found = [one for one in self.frames if one.passed_on and (not bodies or one.body in bodies)]
                    if any(up_to(one.frame) for one in found):
                        break
                    await self._peer.arrival()
        return found

    def counts(self) -> dict[str, int]:
        """Return how many frames of which body came so far."""
        bodies = [received.body for received in self.frames]
        return {body: bodies.count(body) for body in dict.fromkeys(bodies)}


def in_words(frame: Frame) -> str:
    """Return what a frame says, if it says no to something; else its body's name. No speech content."""
    match frame.WhichOneof("body"):
        case "error":
            return f"error {pb.Error.Code.Name(frame.error.code)} ({frame.error.message[:120]})"
        case "refusal":
            return f"refusal {frame.refusal.WhichOneof('reason')}"
        case body:
            return str(body)


def _beside(address: str) -> str:
    """Return where to bind a second inbox: any port of the same host, another file of the same folder."""
    if address.startswith("tcp://"):
        return address.rpartition(":")[0] + ":*"
    return address.removesuffix(".ipc") + "-next.ipc"
