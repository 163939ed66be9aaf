"""The gateway's end of the bus: one inbox for all sessions, the registry, renewals."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import structlog

from bus import metrics as bus_metrics
from bus.announce import BEAT_S
from bus.curve import Keys
from bus.frames import Frame
from bus.health import Health
from bus.node import Node
from gateway.core.events import Role
from gateway.registry import ANY, ROLES, Registry, Replica, Wish
from gateway.unfit import INSTANCE_CHARACTERS, Unfit, flaw
from proto.v1 import speech_pb2 as pb

log = structlog.get_logger(__name__)

# A refusal without a time still keeps new work away for a moment.
MIN_RETRY_MS: Final = 100
# A loop that runs its timers so late has not read its inbox either: it is no judge of who is silent.
LATE_S: Final = 0.25
# Session ids in one LeaseRenewal; a hundred thousand sessions still make small frames.
RENEWED_AT_ONCE: Final = 1000


class Receiver(Protocol):
    """A session that hears from the bus."""

    def frame_received(self, body: str, frame: Frame) -> None:
        """Take a frame of this session."""
        ...

    def replica_lost(self, replica: Replica) -> None:
        """Give up what *replica* was doing for this session."""
        ...

    def look_again(self) -> None:
        """Look for the replica that has been missed, if any: there may be one now."""
        ...

    def drain(self) -> None:
        """Finish what goes on, then leave."""
        ...


class BusLink:
    """Carries frames between sessions and services."""

    def __init__(self, bind: str, advertise: str = "", keys: Keys | None = None) -> None:
        self.registry = Registry()
        self._unfit = Unfit()
        self._node = Node(bind, pb.GATEWAY, self._receive, advertise, keys=keys, lost=self._disconnected)
        self._sessions: dict[str, Receiver] = {}
        self._loop = asyncio.get_running_loop()
        self.health = Health(self._why_not_ready)
        self._was_missing: list[Role] | None = None
        self._waiting: dict[str, None] = {}  # sessions that wait for room, longest first; at most all of them
        self._freed = False
        self._empty = asyncio.Event()
        self.draining = False
        """Whether the gateway is about to stop: nobody comes in any more."""

    @property
    def address(self) -> str:
        """The gateway's inbox, as services reach it."""
        return self._node.address

    @property
    def sessions(self) -> int:
        """Number of sessions attached."""
        return len(self._sessions)

    def attach(self, session_id: str, receiver: Receiver) -> None:
        """Give frames of *session_id* to *receiver*."""
        self._sessions[session_id] = receiver

    def detach(self, session_id: str) -> None:
        """Drop what still comes for *session_id*. Idempotent."""
        self._sessions.pop(session_id, None)
        self._waiting.pop(session_id, None)
        if not self._sessions:
            self._empty.set()

    async def until_empty(self) -> None:
        """Wait until no session is attached."""
        while self._sessions:
            self._empty.clear()
            await self._empty.wait()

    def wait(self, session_id: str) -> None:
        """Have a session look again as soon as a place is given back."""
        self._waiting[session_id] = None

    def freed(self) -> None:
        """Note that a place was given back; who waits for one looks again, soon and in turn."""
        if self._waiting and not self._freed:
            self._freed = True
            self._loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._freed = False
        waiting, self._waiting = self._waiting, {}
        for session_id in waiting:
            receiver = self._sessions.get(session_id)
            if receiver is not None:
                _tell(session_id, receiver.look_again)

    def is_missing(self, role: Role) -> bool:
        """Tell whether no replica can do *role* now, not even one that is full."""
        return role in self.registry.missing()

    def none_for(self, role: Role) -> str:
        """Return why no replica takes work of *role*, when none does."""
        return "not ready" if self.is_missing(role) else "at capacity"

    def send(self, address: str, frame: Frame) -> None:
        """Send *frame* to the inbox at *address*."""
        self._node.send(address, frame)

    def pick(
        self, role: Role, preferred: Replica | None = None, avoid: Replica | None = None, wish: Wish = ANY
    ) -> Replica | None:
        """Return the replica that new work of *role* should go to, *avoid* at last; None if all are full or gone."""
        return self.registry.pick(role, self._loop.time(), preferred=preferred, avoid=avoid, wish=wish)

    def has_room(self, replica: Replica) -> bool:
        """Tell whether *replica* takes more work now."""
        return replica.has_room(self._loop.time())

    def refused(self, replica: Replica, retry_after_ms: int) -> None:
        """Leave *replica* alone for a while: it has said that it is full."""
        until_s = self._loop.time() + max(retry_after_ms, MIN_RETRY_MS) / 1000
        replica.full_until_s = max(replica.full_until_s, until_s)

    def voices(self) -> set[str]:
        """Return the voices of all usable tts services."""
        usable = (replica for replica in self.registry.all() if replica.role is Role.TTS and replica.usable)
        return {voice for replica in usable for voice in replica.said.capabilities.voices}

    def not_ready(self) -> str:
        """Return "not ready: asr, tts" while roles are missing, "" when a conversation can be held."""
        missing = self.registry.missing()
        now_s = self._loop.time()
        told = ", ".join(role.value + self._unfit.remark(role, now_s) for role in missing)
        return f"not ready: {told}" if told else ""

    async def run(self) -> None:
        """Watch over replicas and leases for ever."""
        while True:
            due_s = self._loop.time() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self.health.beat()
            self._node.forget_idle()
            if self._loop.time() - due_s < LATE_S:  # else their beats may wait in our inbox
                for replica in self.registry.expire(self._loop.time()):
                    self._lost(replica, "no announcement for 3 s")
            self._look_again()
            self._renew()
            self._tell_readiness()

    def drain(self) -> None:
        """Let no session begin, and each leave as soon as it is answered."""
        self.draining = True
        self._tell_readiness()
        for session_id, receiver in list(self._sessions.items()):
            _tell(session_id, receiver.drain)

    def close(self) -> None:
        """Close every socket."""
        self._node.close()

    def _why_not_ready(self) -> str:
        return "draining" if self.draining else self.not_ready()

    def _receive(self, body: str, frame: Frame) -> None:
        if body == "announcement":
            self._announced(frame.announcement)
            return
        receiver = self._sessions.get(frame.header.session_id)
        if receiver is None:
            self._node.drop("unknown_session", session=frame.header.session_id, body=body)
            return
        receiver.frame_received(body, frame)

    def _announced(self, announcement: pb.Announcement) -> None:
        if why := flaw(announcement) or self.registry.no_room_for(announcement):
            self._refuse(announcement, why)
            return
        found, replaced = self.registry.heard(announcement, self._loop.time())
        for replica in replaced:
            self._lost(replica, "another process took its address")
        if found is not None:
            log.info("service ready", role=found.role.value, engine=announcement.engine, inbox=found.inbox)
            self._look_again()
        self._tell_readiness()

    def _refuse(self, announcement: pb.Announcement, why: str) -> None:
        """Leave a service alone that cannot be used; tell our log and its own, once."""
        self._node.drop("unfit_announcement")
        if self._unfit.is_news(announcement, self._loop.time()):
            role = ROLES.get(announcement.role)
            name = role.value if role is not None else f"role {announcement.role}"
            inbox, instance = announcement.inbox[:200], announcement.instance_id[:INSTANCE_CHARACTERS]
            log.error("service refused", role=name, why=why, inbox=inbox, instance=instance)
            error = pb.Error(code=pb.Error.INVALID_REQUEST, message=why, role=pb.GATEWAY)
            self._node.send(announcement.inbox, Frame(error=error))

    def _disconnected(self, inbox: str) -> None:
        # Its process ended, most likely. If it was the network, its next announcement brings it back.
        replica = self.registry.lose(inbox)
        if replica is not None:
            self._lost(replica, "its end of the connection is gone")
            self._tell_readiness()

    def _lost(self, replica: Replica, why: str) -> None:
        if replica.said.state == pb.DRAINING:
            log.info("service left", role=replica.role.value, inbox=replica.inbox)
        else:
            log.warning("service lost", role=replica.role.value, inbox=replica.inbox, why=why)
        self._node.forget(replica.inbox)
        for session_id, receiver in list(self._sessions.items()):
            _tell(session_id, partial(receiver.replica_lost, replica))

    def _look_again(self) -> None:
        for session_id, receiver in list(self._sessions.items()):
            _tell(session_id, receiver.look_again)

    def _renew(self) -> None:
        """Renew all leases. Where there are none, too: a death shows by the end of the connection."""
        for replica in self.registry.all():
            session_ids = sorted({session_id for session_id, _ in replica.places})
            for start in range(0, max(len(session_ids), 1), RENEWED_AT_ONCE):
                renewal = pb.LeaseRenewal(session_ids=session_ids[start : start + RENEWED_AT_ONCE])
                self._node.send(replica.inbox, Frame(lease_renewal=renewal))

    def _tell_readiness(self) -> None:
        missing = self.registry.missing()
        if missing != self._was_missing:
            self._was_missing = missing
            bus_metrics.READY.set(0 if missing or self.draining else 1)
            log.info("waiting for services", roles=[role.value for role in missing]) if missing else log.info("ready")


def _tell(session_id: str, hear: Callable[[], None]) -> None:
    """Tell one session; a bug that it meets is logged, and the others hear all the same."""
    try:
        hear()
    except Exception:
        log.exception("session failed", session=session_id)
