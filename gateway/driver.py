"""Joins one client's connection, its session core and the bus: carries out what the core commands.

The driver knows which replica does what for the session; the core does not. A service's mistake ends the turn or the
response it belongs to and is told to the client; a bug of the core ends the session. Neither ends the process.
What raw and Realtime sessions share is here; `raw_driver` and `realtime_driver` add how each asks for an answer and
hands it over.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import structlog

from bus.frames import Frame, Header
from gateway.asking import Asking, Request
from gateway.bus_link import BusLink
from gateway.core import commands as do
from gateway.core import events as ev
from gateway.errors import RefusedError
from gateway.metrics import SESSIONS, VADS_AGAIN
from gateway.places import Avoided, Places
from gateway.recognising import Recognising
from gateway.registry import Replica
from gateway.waterfall import Waterfall
from proto.v1 import speech_pb2 as pb

log = structlog.get_logger(__name__)

# A vad that did nothing in time gets no new work for so long, from any session.
UNRESPONSIVE_MS: Final = 3000
# A session that loses two vads sooner than this after it came to them looks for the next a second later: whatever is
# wrong would go wrong at once again.
SHORT_STAY_S: Final = 1.0
# Errors of a vad that say that the session's place there is lost.
PLACE_LOST: Final = frozenset(
    {pb.Error.UNKNOWN_SESSION, pb.Error.LEASE_EXPIRED, pb.Error.ENGINE_FAILED, pb.Error.OVERLOADED}
)

Commands = Mapping[type[Any], Callable[[Any], None]]
Frames = Mapping[str, Callable[[Frame], None]]


class Connection(Protocol):
    """A client, as every driver sees it. Nothing here blocks; what cannot be written waits in the connection."""

    def notify(self, notice: Any) -> None:
        """Tell the client, if it wants to know."""
        ...

    def disconnect(self, reason: str, *, try_again: bool = False) -> None:
        """Close the connection; *try_again*: there is no room for the client now."""
        ...

    def leave(self) -> None:
        """Write what waits, then close the connection in the protocol's way: the gateway stops."""
        ...


class Core(Protocol):
    """A session without I/O."""

    @property
    def wants_audio(self) -> bool:
        """Whether more of the client's audio should be read."""
        ...

    @property
    def caught_up(self) -> bool:
        """Whether the vad may have used all audio: it need not acknowledge the last of it."""
        ...

    @property
    def idle(self) -> bool:
        """Whether everything that was said is answered and nothing is under way."""
        ...

    @property
    def patient(self) -> bool:
        """Whether audio may wait a moment: nothing urgent, a turn's end or an interruption, can be in it."""
        ...

    @property
    def newest_turn(self) -> int:
        """The number of the turn that began last."""
        ...

    @property
    def in_turn(self) -> bool:
        """Whether the vad has a turn open."""
        ...

    @property
    def generation(self) -> int:
        """How many responses were cancelled."""
        ...

    def start(self) -> list[Any]:
        """Return what has to be done before anything else."""
        ...

    def receive(self, event: Any, now_ms: float) -> list[Any]:
        """Apply *event*; return what must be done, in order."""
        ...

    def next_tick_ms(self) -> float | None:
        """Return when a `Tick` is needed next."""
        ...


class Driver:
    """One session. Make it, `open` it, give it what the client sends, `close` it.

    *commands* and *frames* say what the kind of session does beyond what all do.
    """

    def __init__(self, link: BusLink, connection: Connection, core: Core, session_id: str = "") -> None:
        self.session_id = session_id or uuid.uuid4().hex[:16]
        self._link = link
        self._connection = connection
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._places = Places(link, self.session_id)
        self._vad_answered = False
        self._served = False  # by any vad, ever
        self._opened_at_s = 0.0  # when the session took its place in its vad
        self._short_stays = 0
        # Counts the session's places in vads, so that what one sends is told from what the last still sends.
        self._input_generation = -1
        self._recognising = Recognising(
            link, self._places, self.session_id, self._receive, lambda: self._core.newest_turn
        )
        self._asking = Asking(link, self._places, self.session_id, self._receive)
        self._waterfall = Waterfall()
        self._received_us = 0
        stamp = pb.Stamp(stage=pb.Stamp.GATEWAY_RECEIVED)
        self._audio_header = Header(session_id=self.session_id, reply_to=link.address, stamps=[stamp])
        self._received = self._audio_header.stamps[0]
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_s = 0.0
        self._closed = False
        self._leaving = False
        self._log = log.bind(session=self.session_id)
        self._do: Commands = {
            do.OpenInput: self._open_input,
            do.CloseInput: self._close_input,
            do.SendAudio: self._send_audio,
            do.CancelTurn: self._cancel_turn,
            do.RecogniseAgain: self._recognise_again,
            do.Grant: self._grant,
            do.CancelResponse: self._cancel_response,
            do.EndResponse: self._end_response,
            do.CloseSession: self._close_session,
            do.Disconnect: self._disconnect,
            **self._commands(),
        }
        self._hear: Frames = {
            "audio_ack": self._from_vad(self._on_audio_ack),
            "speech_started": self._from_vad(self._on_speech_started),
            "speech_paused": self._from_vad(self._on_speech_paused),
            "speech_resumed": self._from_vad(self._on_speech_resumed),
            "speech_stopped": self._from_vad(self._on_speech_stopped),
            "transcript": self._on_transcript,
            "text_delta": self._of_request(self._on_text),
            "synthesis_done": self._of_request(self._on_synthesis_done),
            "refusal": self._on_refusal,
            "error": self._on_error,
            **self._frames(),
        }

    # -- what each kind of session says for itself --------------------------------------------------------------------

    def _commands(self) -> Commands:
        """Return how the kind's own commands are carried out; all others are notices."""
        raise NotImplementedError

    def _frames(self) -> Frames:
        """Return how the frames are heard that the kind treats in its own way."""
        raise NotImplementedError

    def _endpointing(self) -> pb.Endpointing:
        """Return what the vad is asked for."""
        raise NotImplementedError

    def _recognition(self) -> pb.Recognition:
        """Return what the asr is asked for."""
        raise NotImplementedError

    def _respond(self, command: Any, avoided: Avoided | None = None) -> None:
        """Make a request as the core commands it, not of who is *avoided*."""
        raise NotImplementedError

    # -- what listeners call ------------------------------------------------------------------------------------------

    def open(self, max_sessions: int) -> None:
        """Take the session's places.

        Raises:
            RefusedError: a service is missing or full, or *max_sessions* clients are here.
        """
        if self._link.draining:
            raise RefusedError("the server is stopping")
        if self._link.sessions >= max_sessions:
            raise RefusedError(f"at capacity: {max_sessions} clients are connected")
        not_ready = self._link.not_ready()
        if not_ready:
            raise RefusedError(not_ready)
        if not self._places.take_vad():
            raise RefusedError("at capacity: vad")
        self._link.attach(self.session_id, self)
        SESSIONS.inc()
        self._log.info("session opened")
        self._carry_out(self._core.start())

    @property
    def wants_audio(self) -> bool:
        """Whether there is room for more of the client's audio."""
        return self._core.wants_audio

    @property
    def patient(self) -> bool:
        """Whether the client's audio may wait a moment for more of it."""
        return self._core.patient

    async def wait_for_room(self) -> None:
        """Wait while the vad is too far behind for more of the client's audio."""
        while not self._core.wants_audio and not self._closed:
            self._room.clear()
            await self._room.wait()

    def backlog(self, ms: float) -> None:
        """Say how much audio the connection holds beyond what is acceptable; 0 when it flows again."""
        self._receive(ev.Backlog(ms))

    def drain(self) -> None:
        """Finish what was said and is being answered, then leave."""
        self._leaving = True
        if self._core.idle:
            self._connection.leave()

    def close(self) -> None:
        """End the session; every place is given back. Idempotent."""
        if not self._closed:
            self._receive(ev.ClientGone())

    # -- what the bus link calls --------------------------------------------------------------------------------------

    def frame_received(self, body: str, frame: Frame) -> None:
        """Take a frame of this session."""
        hear = self._hear.get(body)
        if hear is not None:
            hear(frame)

    def replica_lost(self, replica: Replica) -> None:
        """Give up what *replica* was doing for this session."""
        if replica is self._places.vad:
            self._vad_failed("the service is gone")
        self._recognising.lost(replica)
        self._asking.lost(replica)

    def look_again(self) -> None:
        """Take the places that are missed, if there are any now; leave a vad that is about to stop."""
        if self._closed:
            return
        vad = self._places.vad
        if vad is None:
            self._find_vad()
        elif not vad.usable and not self._core.in_turn and self._link.pick(ev.Role.VAD) is not None:
            self._leave_vad("draining")
            self._find_vad()
        self._recognising.look_again()
        self._asking.look_again()

    def _find_vad(self) -> None:
        if self._places.take_vad():
            self._receive(ev.InputFound())

    # -- frames -> events ---------------------------------------------------------------------------------------------

    def _on_audio_ack(self, frame: Frame) -> None:
        self._vad_answered = self._served = True
        self._receive(ev.AudioConsumed(frame.audio_ack.consumed_sample))

    def _from_vad(self, hear: Callable[[Frame], None]) -> Callable[[Frame], None]:
        """Return *hear* for frames of the session's present vad: those of one that it has left are late."""

        def heard(frame: Frame) -> None:
            if frame.header.generation == self._input_generation:
                hear(frame)

        return heard

    def _of_request(self, hear: Callable[[Frame], None]) -> Callable[[Frame], None]:
        """Return *hear* for frames that answer a request: those of one that was taken back are late."""

        def heard(frame: Frame) -> None:
            if not self._asking.is_stale(frame.header):
                hear(frame)

        return heard

    def _on_speech_started(self, frame: Frame) -> None:
        said = frame.speech_started
        turn_id = frame.header.turn_id
        newest_turn = self._core.newest_turn
        self._receive(ev.SpeechStarted(turn_id, said.at_sample, said.decided_at_sample))
        if self._core.newest_turn != newest_turn:
            self._waterfall = Waterfall()  # not at the stop: a quick transcript overtakes that
            self._recognising.began(turn_id, frame.header.next)

    def _on_speech_paused(self, frame: Frame) -> None:
        self._receive(ev.SpeechPaused(frame.header.turn_id))

    def _on_speech_resumed(self, frame: Frame) -> None:
        self._receive(ev.SpeechResumed(frame.header.turn_id))

    def _on_speech_stopped(self, frame: Frame) -> None:
        said = frame.speech_stopped
        self._waterfall.add(frame.header)
        self._receive(ev.SpeechStopped(frame.header.turn_id, said.at_sample, said.decided_at_sample))
        vad = self._places.vad
        if vad is not None and not vad.usable:  # the next turn is another's
            self._loop.call_soon(self.look_again)

    def _on_transcript(self, frame: Frame) -> None:
        if frame.header.turn_id == self._core.newest_turn:  # an earlier one's are not of this wait
            self._waterfall.add(frame.header)
        self._recognising.ended(frame.header.turn_id)
        self._receive(ev.Transcript(frame.header.turn_id, frame.transcript.text, frame.transcript.audio_ms))

    def _on_text(self, frame: Frame) -> None:
        self._waterfall.add(frame.header)
        if self._asking.is_next_text(frame.header, frame.text_delta.seq):
            self._receive(ev.TextDelta(frame.header.response_id, frame.text_delta.text))

    def _on_synthesis_done(self, frame: Frame) -> None:
        self._receive(ev.SynthesisDone(frame.header.response_id))

    def _on_refusal(self, frame: Frame) -> None:
        refusal = frame.refusal
        full = refusal.WhichOneof("reason") == "at_capacity"
        role = refusal.at_capacity.role if full else refusal.not_ready.role
        message = "at capacity" if full else "not ready"
        self._request_failed(frame.header, role, message, retry_after_ms=refusal.at_capacity.retry_after_ms)

    def _on_error(self, frame: Frame) -> None:
        error = frame.error
        if error.role == pb.VAD:
            if error.code in PLACE_LOST and frame.header.generation == self._input_generation:
                self._vad_failed(error.message)
            return
        self._request_failed(frame.header, error.role, error.message, retryable=error.retryable)

    def _request_failed(
        self,
        header: Header,
        role: pb.Role.ValueType,
        message: str,
        *,
        retryable: bool = True,
        retry_after_ms: int | None = None,
    ) -> None:
        """Give up one request; *retry_after_ms* if it was refused rather than failed."""
        places = self._places
        refused = retry_after_ms is not None
        replica = {
            pb.VAD: places.vad,
            pb.ASR: places.asr(header.turn_id) or places.next_asr,
            pb.LLM: places.responder(ev.Role.LLM, header.response_id),
            pb.TTS: places.responder(ev.Role.TTS, header.response_id),
        }.get(role)
        if replica is not None and retry_after_ms is not None:
            self._link.refused(replica, retry_after_ms)
        match role:
            case pb.VAD if header.generation == self._input_generation:
                self._vad_failed(message)
                if self._places.vad is None and not self._served:
                    self._connection.disconnect(f"{message}: vad", try_again=True)
            case pb.ASR:
                self._recognising.failed(header, message, retryable=retryable, refused=refused)
            case pb.LLM | pb.TTS if not self._asking.is_stale(header):
                failed = ev.Role.LLM if role == pb.LLM else ev.Role.TTS
                self._receive(ev.ResponseFailed(header.response_id, failed, message, retryable, refused))

    def _vad_failed(self, message: str) -> None:
        """Go to another vad, at once if there is one and this one had the session for a while."""
        gone = self._places.vad is not None and self._places.vad.gone
        self._leave_vad("place lost")
        stayed = gone or self._loop.time() - self._opened_at_s >= SHORT_STAY_S
        self._short_stays = 0 if stayed else self._short_stays + 1
        if self._short_stays <= 1 and self._places.take_vad():
            self._receive(ev.InputFound())
        else:
            self._receive(ev.InputLost(f"vad: {message}"))

    def _leave_vad(self, reason: str) -> None:
        """Give the place in the vad back, also if the vad does not know that it is lost."""
        vad = self._places.vad
        if vad is None:
            return
        if not self._vad_answered:  # it would do the same again at once
            self._link.refused(vad, 0)
        if not vad.gone:
            header = Header(session_id=self.session_id)
            self._link.send(vad.inbox, Frame(header=header, session_close=pb.SessionClose(reason=reason)))
        self._places.release_vad()

    # -- commands: the bus --------------------------------------------------------------------------------------------

    def _open_input(self, command: do.OpenInput) -> None:
        self._vad_answered = False
        self._opened_at_s = self._loop.time()
        self._input_generation += 1
        if self._input_generation:
            VADS_AGAIN.inc()
        self._audio_header.generation = self._input_generation
        opening = pb.SessionOpen(
            endpointing=self._endpointing(),
            recognition=self._recognition(),
            at_sample=command.at_sample,
            first_turn_id=command.first_turn_id,
            in_turn=command.in_turn,
        )
        self._to_vad(session_open=opening)

    def _close_input(self, _command: do.CloseInput) -> None:
        if self._places.vad is not None:
            self._link.refused(self._places.vad, UNRESPONSIVE_MS)
        self._leave_vad("nothing came in time")
        self._loop.call_soon(self.look_again)  # later, not now: the core's commands are still being carried out

    def _send_audio(self, command: do.SendAudio) -> None:
        vad = self._places.vad
        if vad is None:
            return  # the core keeps the audio and opens another place when there is one
        # Nothing comes as often, and to copy a header takes half as long as to make one. (Only the header is kept:
        # what a message's strings held before is not freed until the message is.)
        header, inbox = self._audio_header, self._places.next_asr_inbox()
        if header.next != inbox:
            header.next = inbox
        self._received.unix_us = self._received_us
        frame = Frame(header=header)
        frame.audio.pcm = command.pcm
        frame.audio.at_sample = command.at_sample
        self._link.send(vad.inbox, frame)

    def _to_vad(self, **body: Any) -> None:
        vad = self._places.vad
        if vad is None:
            return  # as above
        header = Header(
            session_id=self.session_id,
            generation=self._input_generation,
            reply_to=self._link.address,
            next=self._places.next_asr_inbox(),
        )
        self._link.send(vad.inbox, Frame(header=header, **body))

    def _cancel_turn(self, command: do.CancelTurn) -> None:
        self._recognising.cancel(command.turn_id, self._input_generation + 1)

    def _recognise_again(self, command: do.RecogniseAgain) -> None:
        self._recognising.recognition = self._recognition()
        self._recognising.again(command, self._input_generation + 1)

    def _ask(
        self,
        header: Header,
        generation: pb.GenerationRequest,
        synthesis: pb.SynthesisRequest | None,
        answer_timeout_ms: int,
        avoided: Avoided | None,
    ) -> None:
        """Have a response made; *synthesis* None: nothing is to be spoken."""
        header.deadline_ms = answer_timeout_ms
        self._asking.ask(Request(header, generation, synthesis, avoided))

    def _ask_again(self, command: Any) -> None:
        request = command.request
        avoided = self._asking.withdraw(request.response_id, request.generation, command.role, command.elsewhere)
        self._respond(request, avoided)

    def _grant(self, command: do.Grant) -> None:
        self._asking.grant(command.response_id, command.until_ms, self._core.generation)

    def _cancel_response(self, command: do.CancelResponse) -> None:
        self._asking.cancel(command.response_id, command.generation)

    def _end_response(self, command: do.EndResponse) -> None:
        self._asking.end(command.response_id)

    def _close_session(self, _command: do.CloseSession) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._room.set()
        self._idle.set()
        frame = Frame(header=Header(session_id=self.session_id), session_close=pb.SessionClose(reason="client gone"))
        for replica in self._places.release_all():
            self._link.send(replica.inbox, frame)
        self._link.detach(self.session_id)
        self._link.freed()
        SESSIONS.dec()
        self._log.info("session closed")

    def _disconnect(self, command: do.Disconnect) -> None:
        self._log.warning("disconnecting", reason=command.reason)
        self._connection.disconnect(command.reason)

    # -- the core -----------------------------------------------------------------------------------------------------

    def _receive(self, event: Any) -> None:
        if self._closed:
            return
        try:
            self._carry_out(self._core.receive(event, self._now_ms()))
            if self._closed:
                return
            if self._core.wants_audio:
                self._room.set()
            if self._core.idle:
                self._idle.set()
                if self._leaving:
                    self._connection.leave()
            self._set_timer()
        except Exception:  # noqa: BLE001 - logged there
            self._fail()

    def _take_audio(self, event: Any) -> None:
        """Take audio. It brings no time nearer but that by which the vad must say that it is used."""
        if self._closed:
            return
        self._received_us = time.time_ns() // 1000
        core = self._core
        try:
            self._carry_out(core.receive(event, self._now_ms()))
            if not core.caught_up:
                self._set_timer()
        except Exception:  # noqa: BLE001 - logged there
            self._fail()

    def _fail(self) -> None:
        """End the session without asking the core, which has met a bug: part of an event may have been applied.

        Its places are given back later, not now: whoever called may be taking some.
        """
        self._log.exception("session failed")
        if self._closed:
            return
        self._closed = True
        self._loop.call_soon(self._close_session, do.CloseSession())
        try:
            self._connection.disconnect("internal error")
        except Exception:
            log.exception("client not told", session=self.session_id)

    def _carry_out(self, commands: list[Any]) -> None:
        for command in commands:
            self._do.get(type(command), self._connection.notify)(command)

    def _set_timer(self) -> None:
        """Have a tick come in time. One that comes early does no harm, so a timer is never put off."""
        due_ms = self._core.next_tick_ms()
        if due_ms is None:
            return
        due_s = max(due_ms / 1000, self._loop.time())
        if self._timer is not None:
            if self._timer_due_s <= due_s:
                return
            self._timer.cancel()
        self._timer_due_s = due_s  # uvloop's handles do not always know
        self._timer = self._loop.call_at(due_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._receive(ev.Tick())

    def _now_ms(self) -> float:
        return self._loop.time() * 1000
