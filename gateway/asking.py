"""The responses of one session at the llms and ttss: who has them, and how a request gets to others.

A request for which no replica has room waits for one: `ROOM_S` if they are full, until the core gives it up if there
are none. Frames carry the generation of the request that they answer: those of a request that was made again are told
from those of the first by it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bus.frames import Frame, Header
from gateway.bus_link import BusLink
from gateway.core import events as ev
from gateway.metrics import ANSWERS_AGAIN
from gateway.places import Avoided, Places
from gateway.registry import Replica
from proto.v1 import speech_pb2 as pb

# How long a request waits for a place at services that are full before the client is told.
ROOM_S: Final = 3.0
# Rounding of positions in ms. What is missing beyond it is a piece.
GAP_MS: Final = 20
RESPONDERS: Final = (ev.Role.LLM, ev.Role.TTS)


@dataclass(slots=True, eq=False)
class Request:
    """What a response was asked for with. *synthesis* None: nothing is to be spoken."""

    header: Header
    generation: pb.GenerationRequest
    synthesis: pb.SynthesisRequest | None
    avoided: Avoided | None = None
    since_s: float | None = None
    """Since when there is no room for it."""
    sent: bool = False
    next_seq: int = 0
    audio_ms: float = 0.0


class Asking:
    """*tell* takes what the core has to know."""

    def __init__(
        self, link: BusLink, places: Places, session_id: str, tell: Callable[[ev.ResponseFailed], None]
    ) -> None:
        self._link = link
        self._places = places
        self._session_id = session_id
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._requests: dict[str, Request] = {}

    def ask(self, request: Request) -> None:
        """Take places for a response and ask for it, now or when there are places."""
        response_id = request.header.response_id
        before = self._requests.get(response_id)
        if before is not None:
            request.since_s = before.since_s
        self._requests[response_id] = request
        self._try(request)

    def withdraw(self, response_id: str, generation: int, role: ev.Role, elsewhere: str) -> Avoided | None:
        """Take a request back that *role* failed at; return whom the next is to avoid.

        *elsewhere*, if not empty, says why the failed replica must not have it again.
        """
        ANSWERS_AGAIN.labels(role.value).inc()
        request = self._requests.get(response_id)
        replica = self._places.responder(role, response_id)
        waited = request is not None and not request.sent
        self._cancel(response_id, generation)
        if waited and elsewhere:
            return Avoided(role, None, self._none_for(role))
        return Avoided(role, replica, elsewhere)

    def look_again(self) -> None:
        """Make the requests that wait for room, if there is some now."""
        for request in list(self._requests.values()):
            if not request.sent:
                self._try(request)

    def end(self, response_id: str) -> None:
        """Forget a response that is over at the services, too."""
        self._requests.pop(response_id, None)
        self._places.release_responders(response_id)

    def cancel(self, response_id: str, generation: int) -> None:
        """Stop a response and forget it."""
        self._cancel(response_id, generation)
        self._requests.pop(response_id, None)

    def lost(self, replica: Replica) -> None:
        """Give up what *replica* was doing: it is gone."""
        for response_id in self._places.responses_at(replica):
            self._tell(ev.ResponseFailed(response_id, replica.role, "the service is gone", retryable=True))

    def grant(self, response_id: str, until_ms: int, generation: int) -> None:
        """Let the tts go on up to a position."""
        replica = self._places.responder(ev.Role.TTS, response_id)
        self._send(replica, response_id, generation, synthesis_grant=pb.SynthesisGrant(until_ms=until_ms))

    # -- what comes back ----------------------------------------------------------------------------------------------

    def is_stale(self, header: Header) -> bool:
        """Tell whether a frame answers a request that was taken back. The core knows responses that are over."""
        request = self._requests.get(header.response_id)
        return request is not None and header.generation < request.header.generation

    def is_next_text(self, header: Header, seq: int) -> bool:
        """Count a piece of text. If it came before return False; if one before it is missing say so, too."""
        request = self._requests.get(header.response_id)
        if request is None or seq < request.next_seq:
            return False
        if seq > request.next_seq:
            self._missing(header, ev.Role.LLM, "text")
            return False
        request.next_seq += 1
        return True

    def has_all_text(self, header: Header, deltas: int) -> bool:
        """Tell whether all pieces of text have come, now that the llm is done; if some is missing, say so."""
        request = self._requests.get(header.response_id)
        if request is not None and deltas > request.next_seq:
            self._missing(header, ev.Role.LLM, "text")
            return False
        return request is not None

    def has_all_speech(self, header: Header, speech: pb.SpeechOut) -> bool:
        """Count a piece of audio; if some is missing before it, say so and return False."""
        request = self._requests.get(header.response_id)
        if request is None:
            return False
        if speech.at_ms > request.audio_ms + GAP_MS:
            self._missing(header, ev.Role.TTS, "audio")
            return False
        request.audio_ms += len(speech.pcm) * 500 / (speech.sample_rate or 1)
        return True

    def _missing(self, header: Header, role: ev.Role, what: str) -> None:
        self._tell(ev.ResponseFailed(header.response_id, role, f"a piece of the {what} is missing", retryable=True))

    # -- requests -----------------------------------------------------------------------------------------------------

    def _try(self, request: Request) -> None:
        header = request.header
        roles = RESPONDERS if request.synthesis is not None else RESPONDERS[:1]
        full = self._places.take_responders(roles, header.response_id, request.avoided)
        if full is not None:
            self._wait(request, full)
            return
        llm = self._places.responder(ev.Role.LLM, header.response_id)
        tts = self._places.responder(ev.Role.TTS, header.response_id)
        request.sent = True
        deadline_ms, header.deadline_ms = header.deadline_ms, 0
        if tts is not None:
            self._link.send(tts.inbox, Frame(header=header, synthesis_request=request.synthesis))
            header.next = tts.inbox
        header.deadline_ms = deadline_ms
        if llm is not None:
            self._link.send(llm.inbox, Frame(header=header, generation_request=request.generation))

    def _wait(self, request: Request, role: ev.Role) -> None:
        now_s = self._loop.time()
        request.since_s = now_s if request.since_s is None else request.since_s
        avoided = request.avoided
        if avoided is not None and avoided.role is role and avoided.strictly:
            self._give_up(request, role, avoided.strictly)
        elif not self._link.is_missing(role) and now_s - request.since_s >= ROOM_S:
            self._give_up(request, role, self._none_for(role))
        else:
            self._link.wait(self._session_id)

    def _give_up(self, request: Request, role: ev.Role, message: str) -> None:
        # Later, not now: the core's commands for this response are still being carried out.
        request.sent = True  # it waits no longer
        self._loop.call_soon(self._tell, ev.ResponseFailed(request.header.response_id, role, message))

    def _none_for(self, role: ev.Role) -> str:
        return self._link.none_for(role)

    def _cancel(self, response_id: str, generation: int) -> None:
        for role in RESPONDERS:
            self._send(self._places.responder(role, response_id), response_id, generation, cancel=pb.Cancel())
        self._places.release_responders(response_id)

    def _send(self, replica: Replica | None, response_id: str, generation: int, **body: Any) -> None:
        if replica is not None and not replica.gone:
            header = Header(session_id=self._session_id, response_id=response_id, generation=generation)
            self._link.send(replica.inbox, Frame(header=header, **body))
