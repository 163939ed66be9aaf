"""Who is there: the replicas of every service as their announcements tell, and which places of them we have taken.

A place is counted at the moment it is given out, not when the service's next announcement shows it: a burst of clients
is admitted exactly as far as there is room.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from bus.announce import BEAT_S, MISSED_BEATS
from bus.frames import PROTOCOL_VERSION
from gateway.core.events import Role
from proto.v1 import speech_pb2 as pb

GONE_AFTER_S: Final = BEAT_S * MISSED_BEATS
# A replica whose oldest work waits for so long gets new work only when no other has room.
HANGS_MS: Final = 3000
# More than a gateway can have connections to (`bus.node.PEERS`); who invents services does not fill the memory.
REPLICAS: Final = 1024
ROLES: Final = {pb.VAD: Role.VAD, pb.ASR: Role.ASR, pb.LLM: Role.LLM, pb.TTS: Role.TTS}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a session would like a service to be or to have; empty: anything. Names are as they are announced."""

    engine: str = ""
    """Name of an engine or of a model."""
    language: str = ""
    """BCP 47; its first part counts. Who announces no languages is taken to know all."""
    voice: str = ""

    def narrow(self, replicas: "list[Replica]") -> "list[Replica]":
        """Return those of *replicas* that fulfil it. What none of them fulfils is not asked for."""
        wanted: tuple[tuple[str, Callable[[pb.Announcement], bool]], ...] = (
            (self.engine, lambda said: self.engine in {said.engine, said.model}),
            (self.language, lambda said: _knows(said.capabilities.languages, self.language)),
            (self.voice, lambda said: self.voice in said.capabilities.voices),
        )
        for asked, fits in wanted:
            fitting = [replica for replica in replicas if fits(replica.said)] if asked else []
            replicas = fitting or replicas
        return replicas


ANY: Final = Wish()


@dataclass(eq=False, slots=True)
class Replica:
    """One service process. *places* are those that this gateway has taken, by session and work."""

    role: Role
    said: pb.Announcement
    heard_at_s: float
    gone: bool = False
    full_until_s: float = 0.0
    """Until then it has asked to be left alone."""
    places: set[tuple[str, str]] = field(default_factory=set)

    @property
    def inbox(self) -> str:
        """Where frames for it go."""
        return self.said.inbox

    @property
    def usable(self) -> bool:
        """Whether it takes new work at all."""
        return not self.gone and self.said.state == pb.READY

    @property
    def load(self) -> float:
        """Share of its places that are taken. What it announced may include other gateways' leases, and lags."""
        return max(self.said.leases, len(self.places)) / max(self.said.capacity, 1)

    def has_room(self, now_s: float) -> bool:
        """Tell whether new work may be given to it."""
        return self.usable and self.load < 1 and now_s >= self.full_until_s

    @property
    def hangs(self) -> bool:
        """Whether work waits there for so long that it should come last."""
        return self.said.queue_age_ms > HANGS_MS


class Registry:
    """All replicas known to this gateway."""

    def __init__(self) -> None:
        self._replicas: dict[str, Replica] = {}

    def heard(self, announcement: pb.Announcement, now_s: float) -> tuple[Replica | None, list[Replica]]:
        """Take an announcement; return the replica if it has just become usable, and those that it replaces.

        A process that starts again at the same address has a new instance id: the old one is gone.
        """
        role = ROLES.get(announcement.role)
        if role is None or announcement.protocol_version != PROTOCOL_VERSION:
            return None, []
        known = self._replicas.get(announcement.instance_id)
        if known is not None:
            was_usable = known.usable
            known.said = announcement
            known.heard_at_s = now_s
            return (known if known.usable and not was_usable else None), []
        replaced = [r for r in self._replicas.values() if r.inbox == announcement.inbox]
        for replica in replaced:
            self._forget(replica)
        replica = Replica(role, announcement, now_s)
        self._replicas[announcement.instance_id] = replica
        return (replica if replica.usable else None), replaced

    def no_room_for(self, announcement: pb.Announcement) -> str:
        """Return why one more replica is not kept, "" if it is known or there is room for it."""
        known = announcement.instance_id in self._replicas
        full = len(self._replicas) >= REPLICAS and not known
        return f"{REPLICAS} services have announced themselves here, which is all that a gateway keeps" if full else ""

    def expire(self, now_s: float) -> list[Replica]:
        """Return the replicas that have missed too many beats, and forget them."""
        lost = [r for r in self._replicas.values() if now_s - r.heard_at_s > GONE_AFTER_S]
        for replica in lost:
            self._forget(replica)
        return lost

    def lose(self, inbox: str) -> Replica | None:
        """Forget the replica that was reached at *inbox*, and return it; None if there is none."""
        replica = self.at(inbox)
        if replica is not None:
            self._forget(replica)
        return replica

    def pick(
        self,
        role: Role,
        now_s: float,
        *,
        preferred: Replica | None = None,
        avoid: Replica | None = None,
        wish: Wish = ANY,
    ) -> Replica | None:
        """Return the replica for new work: the preferred one if it has room, else the least loaded, else None.

        Only those that fulfil *wish* as far as any does; one that hangs, and *avoid*, come last.
        """
        fitting = [r for r in self._replicas.values() if r.role is role and r.usable]
        if wish != ANY:
            fitting = wish.narrow(fitting)
        free = [r for r in fitting if r.has_room(now_s)]
        if preferred is not None and preferred in free and preferred is not avoid and not preferred.hangs:
            return preferred
        return min(free, key=lambda r: (r is avoid, r.hangs, r.load), default=None)

    def at(self, inbox: str) -> Replica | None:
        """Return the replica that is reached at *inbox*, None if none is known."""
        return next((r for r in self._replicas.values() if r.inbox == inbox), None)

    def missing(self) -> list[Role]:
        """Return the roles that no replica can do now."""
        usable = {r.role for r in self._replicas.values() if r.usable}
        return [role for role in Role if role not in usable]

    def all(self) -> list[Replica]:
        """Return every replica, by role."""
        return sorted(self._replicas.values(), key=lambda r: (r.said.role, r.said.instance_id))

    def _forget(self, replica: Replica) -> None:
        replica.gone = True
        del self._replicas[replica.said.instance_id]


def _knows(languages: Collection[str], asked: str) -> bool:
    primary = asked.partition("-")[0].lower()
    return not languages or any(language.partition("-")[0].lower() == primary for language in languages)
