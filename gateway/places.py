"""Which replica does what for one session, and the places taken there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.bus_link import BusLink
from gateway.core.events import Role
from gateway.registry import ANY, Replica, Wish


@dataclass(frozen=True, slots=True)
class Avoided:
    """Who failed at a request: of *role*, *replica* comes last. *strictly*: not at all, and this is why."""

    role: Role
    replica: Replica | None
    strictly: str = ""


class Places:
    """The places of one session: a vad for its life, an asr per turn, an llm and a tts per response.

    The replica used last is preferred, because its caches are warm.
    """

    def __init__(self, link: BusLink, session_id: str) -> None:
        self._link = link
        self._session_id = session_id
        self.next_asr: Replica | None = None
        self._wishes: dict[Role, Wish] = {}
        self._turn_asr: dict[int, Replica] = {}
        self.vad: Replica | None = None
        self._last: dict[Role, Replica | None] = {}
        self._responders: dict[tuple[str, Role], Replica] = {}

    def take_vad(self) -> bool:
        """Take a place for the session's audio; return whether there was one."""
        self.vad = self._take(Role.VAD, "audio", None)
        return self.vad is not None

    def release_vad(self) -> None:
        """Give the session's place in the vad back."""
        self._release(self.vad, "audio")
        self.vad = None

    def next_asr_inbox(self) -> str:
        """Return the inbox of the recogniser that the next turn goes to, "" if there is none."""
        if self.next_asr is None or not self._link.has_room(self.next_asr):  # asked for with every piece of audio
            self.next_asr = self._pick(Role.ASR, None)
        return self.next_asr.inbox if self.next_asr is not None else ""

    def take_asr(self, turn_id: int, inbox: str) -> bool:
        """Count the place of a turn whose audio the vad sends to *inbox*; return whether a recogniser is there.

        An empty *inbox* (a vad that does not say) stands for the one that was named to the vad last.
        """
        replica = self._link.registry.at(inbox) if inbox else self.next_asr
        if replica is None or replica.gone:
            return False
        self._hold_asr(turn_id, replica)
        return True

    def retake_asr(self, turn_id: int, avoid: Replica | None, *, strictly: bool) -> Replica | None:
        """Take a place for a turn that *avoid* failed at: there last, if not *strictly*, and else nowhere."""
        replica = self._pick(Role.ASR, self.next_asr, avoid)
        if replica is None or (strictly and replica is avoid):
            return None
        self._hold_asr(turn_id, replica)
        return replica

    def _hold_asr(self, turn_id: int, replica: Replica) -> None:
        self._turn_asr[turn_id] = replica
        replica.places.add((self._session_id, f"turn {turn_id}"))

    def asr(self, turn_id: int) -> Replica | None:
        """Return the recogniser of a turn that has no transcript yet."""
        return self._turn_asr.get(turn_id)

    def turns_at(self, replica: Replica) -> list[int]:
        """Return the turns that *replica* is recognising."""
        return [turn_id for turn_id, asr in self._turn_asr.items() if asr is replica]

    def release_asr(self, turn_id: int) -> None:
        """Give the place of a turn back, and choose again for the turns to come."""
        self._release(self._turn_asr.pop(turn_id, None), f"turn {turn_id}")
        self.next_asr = self._pick(Role.ASR, self.next_asr)

    def take_responders(self, roles: Sequence[Role], response_id: str, avoided: Avoided | None) -> Role | None:
        """Take a place for a response in a service of each of *roles*; if one has no room take none, and return it."""
        found: dict[Role, Replica] = {}
        for role in roles:
            avoid = avoided if avoided is not None and avoided.role is role else None
            replica = self._pick(role, self._last.get(role), avoid.replica if avoid else None)
            if replica is None or (avoid and avoid.strictly and avoid.replica in (replica, None)):
                return role
            found[role] = replica
        for role, replica in found.items():
            replica.places.add((self._session_id, response_id))
            self._last[role] = self._responders[response_id, role] = replica
        return None

    def responder(self, role: Role, response_id: str) -> Replica | None:
        """Return who does *role* for a response that has not ended."""
        return self._responders.get((response_id, role))

    def responses_at(self, replica: Replica) -> list[str]:
        """Return the responses that *replica* works for."""
        return [response_id for (response_id, _), responder in self._responders.items() if responder is replica]

    def release_responders(self, response_id: str) -> None:
        """Give the places of a response back."""
        for role in (Role.LLM, Role.TTS):
            self._release(self._responders.pop((response_id, role), None), response_id)

    def release_all(self) -> Iterator[Replica]:
        """Give every place back; yield each replica that may still work for the session."""
        for replica in self._link.registry.all():
            mine = {place for place in replica.places if place[0] == self._session_id}
            replica.places -= mine
            if mine or replica in (self.vad, self.next_asr, *self._last.values()):
                yield replica

    def wish(self, role: Role, wish: Wish) -> None:
        """Note what the session asks of a service from its next turn or answer on."""
        if self._wishes.get(role, ANY) != wish:
            self._wishes[role] = wish
            if role is Role.ASR:
                self.next_asr = self._pick(Role.ASR, self.next_asr)

    def _pick(self, role: Role, preferred: Replica | None, avoid: Replica | None = None) -> Replica | None:
        return self._link.pick(role, preferred, avoid, self._wishes.get(role, ANY))

    def _take(self, role: Role, work: str, preferred: Replica | None) -> Replica | None:
        replica = self._pick(role, preferred)
        if replica is not None:
            replica.places.add((self._session_id, work))
        return replica

    def _release(self, replica: Replica | None, work: str) -> None:
        if replica is not None:
            replica.places.discard((self._session_id, work))
            self._link.freed()
