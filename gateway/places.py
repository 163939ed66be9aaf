"""Which replica does what for one session, and the places taken there."""

from collections.abc import Iterator

from gateway.bus_link import BusLink
from gateway.core.events import Role
from gateway.registry import Replica


class Places:
    """The places of one session: a vad for its life, an asr per turn, an llm and a tts per response.

    The replica used last is preferred, because its caches are warm.
    """

    def __init__(self, link: BusLink, session_id: str) -> None:
        self._link = link
        self._session_id = session_id
        self.next_asr: Replica | None = None
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
        self.next_asr = self._link.pick(Role.ASR, self.next_asr)
        return self.next_asr.inbox if self.next_asr is not None else ""

    def take_asr(self, turn_id: int) -> bool:
        """Count the place of a turn whose audio the vad has begun to send; return whether there was a recogniser."""
        if self.next_asr is None:
            return False
        self._turn_asr[turn_id] = self.next_asr
        self.next_asr.places.add((self._session_id, f"turn {turn_id}"))
        return True

    def asr(self, turn_id: int) -> Replica | None:
        """Return the recogniser of a turn that has no transcript yet."""
        return self._turn_asr.get(turn_id)

    def turns_at(self, replica: Replica) -> list[int]:
        """Return the turns that *replica* is recognising."""
        return [turn_id for turn_id, asr in self._turn_asr.items() if asr is replica]

    def release_asr(self, turn_id: int) -> None:
        """Give the place of a turn back, and choose again for the turns to come."""
        self._release(self._turn_asr.pop(turn_id, None), f"turn {turn_id}")
        self.next_asr = self._link.pick(Role.ASR, self.next_asr)

    def take_responder(self, role: Role, response_id: str) -> Replica | None:
        """Take a place in an llm or a tts for a response; return the replica, None if none has room."""
        replica = self._take(role, response_id, self._last.get(role))
        if replica is not None:
            self._last[role] = self._responders[response_id, role] = replica
        return replica

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

    def _take(self, role: Role, work: str, preferred: Replica | None) -> Replica | None:
        replica = self._link.pick(role, preferred)
        if replica is not None:
            replica.places.add((self._session_id, work))
        return replica

    def _release(self, replica: Replica | None, work: str) -> None:
        if replica is not None:
            replica.places.discard((self._session_id, work))
