"""The session of a raw client (TCP or WebSocket): audio in, paced audio out."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

from bus.frames import Frame, Header
from gateway.bus_link import BusLink
from gateway.core import commands as do
from gateway.core import events as ev
from gateway.core.input import BLOCK_BYTES
from gateway.core.response import Status
from gateway.core.session import Session, SessionSettings
from gateway.driver import Commands, Driver, Frames
from gateway.metrics import RESPONSES, TURNS_FAILED
from gateway.places import Avoided
from gateway.registry import Wish
from proto.v1 import speech_pb2 as pb

# How long a client whose input has ended waits for what it said to be answered.
LAST_ANSWER_S: Final = 120.0
SPOKEN: Final = (ev.Role.ASR, ev.Role.TTS)
AUTHORS: Final = {"user": pb.Message.USER, "assistant": pb.Message.ASSISTANT}


class RawConnection(Protocol):
    """A raw client, as the driver sees it."""

    def play(self, pcm: bytes) -> None:
        """Send audio of the answer."""
        ...

    def play_ended(self, *, stopped: bool) -> None:
        """Finish the answer's audio; *stopped*: drop what has not been written of it."""
        ...

    def notify(self, notice: Any) -> None:
        """Tell the client, if it wants to know."""
        ...

    def latency(self, turn_id: int, spent_ms: dict[str, float]) -> None:
        """Tell the client where the time of its turn went."""
        ...

    def disconnect(self, reason: str, *, try_again: bool = False) -> None:
        """Close the connection; *try_again*: there is no room for the client now."""
        ...

    def leave(self) -> None:
        """Write what waits, then close the connection: the gateway stops."""
        ...


class RawDriver(Driver):
    """One raw session. Make it, `open` it, `feed` it the client's audio, `close` it."""

    def __init__(
        self,
        link: BusLink,
        connection: RawConnection,
        *,
        settings: SessionSettings,
        endpointing: pb.Endpointing,
        recognition: pb.Recognition,
        voice: str = "",
        engines: Mapping[ev.Role, str] | None = None,
    ) -> None:
        self._client = connection
        self._settings = settings
        self._asked_endpointing = endpointing
        self._asked_recognition = recognition
        self._voice = voice
        self._first_audio_of = ""
        self._response_turn = 0
        core = Session(settings, asyncio.get_running_loop().time() * 1000)
        super().__init__(link, connection, core)
        language = recognition.language
        for role, engine in (dict.fromkeys(ev.Role, "") | dict(engines or {})).items():
            self._places.wish(
                role, Wish(engine, language if role in SPOKEN else "", voice if role is ev.Role.TTS else "")
            )

    def hear(self, pcm: bytes) -> None:
        """Take audio of the client (16 kHz mono s16le, whole samples, `BLOCK_BYTES` at most) while it is wanted."""
        self._take_audio(ev.AudioReceived(pcm))

    async def feed(self, pcm: bytes) -> None:
        """Take audio of the client, as much as it is; wait while the vad is too far behind."""
        for start in range(0, len(pcm), BLOCK_BYTES):
            await self.wait_for_room()
            self.hear(pcm[start : start + BLOCK_BYTES])

    async def finish(self) -> None:
        """Wait until everything that the client said is answered: it will say no more, but it listens."""
        await asyncio.sleep(self._settings.starvation_ms / 1000)
        try:
            async with asyncio.timeout(LAST_ANSWER_S):
                while not self._core.idle and not self._closed:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            self._log.warning("closing with speech unanswered")

    def _commands(self) -> Commands:
        return {
            do.Respond: self._respond,
            do.AskAgain: self._ask_again,
            do.Play: self._play,
            do.PlayEnded: self._play_ended,
            do.ResponseDoneNotice: self._response_done,
            do.TurnFailedNotice: self._turn_failed,
        }

    def _frames(self) -> Frames:
        return {
            "partial_transcript": self._on_partial,
            "generation_done": self._of_request(self._on_generation_done),
            "speech_out": self._of_request(self._on_speech),
        }

    def _endpointing(self) -> pb.Endpointing:
        return self._asked_endpointing

    def _recognition(self) -> pb.Recognition:
        return self._asked_recognition

    # -- frames -------------------------------------------------------------------------------------------------------

    def _on_partial(self, frame: Frame) -> None:
        said = frame.partial_transcript
        words = " ".join(part for part in (said.stable.strip(), said.unstable.strip()) if part)
        self._receive(ev.PartialTranscript(frame.header.turn_id, words))

    def _on_generation_done(self, frame: Frame) -> None:
        if not self._asking.has_all_text(frame.header, frame.generation_done.deltas):
            return
        cut_off = frame.generation_done.reason in (
            pb.GenerationDone.MAX_OUTPUT_TOKENS,
            pb.GenerationDone.CONTENT_FILTER,
        )
        self._receive(ev.GenerationDone(frame.header.response_id, complete=not cut_off))

    def _on_speech(self, frame: Frame) -> None:
        self._waterfall.add(frame.header)
        out = frame.speech_out
        if not self._asking.has_all_speech(frame.header, out):
            return
        self._receive(ev.SpeechReceived(frame.header.response_id, out.pcm, out.text))

    # -- commands -----------------------------------------------------------------------------------------------------

    def _respond(self, command: do.Respond, avoided: Avoided | None = None) -> None:
        self._response_turn = command.turn_id
        header = Header(
            session_id=self.session_id,
            turn_id=command.turn_id,
            revision=command.revision,
            response_id=command.response_id,
            generation=command.generation,
            reply_to=self._link.address,
        )
        synthesis = pb.SynthesisRequest(
            voice=self._voice,
            language=self._asked_recognition.language,
            sample_rate=self._settings.output_rate,
            granted_ms=command.granted_ms,
        )
        generation = pb.GenerationRequest(
            instructions=command.instructions,
            messages=[pb.Message(author=AUTHORS[m.author], parts=[pb.Part(text=m.text)]) for m in command.messages],
        )
        self._ask(header, generation, synthesis, self._settings.answer_timeout_ms, avoided)

    def _play(self, command: do.Play) -> None:
        self._client.play(command.pcm)
        if self._first_audio_of != command.response_id:
            self._first_audio_of = command.response_id
            spent_ms = self._waterfall.finish()
            if spent_ms:
                self._client.latency(self._response_turn, spent_ms)

    def _play_ended(self, command: do.PlayEnded) -> None:
        self._client.play_ended(stopped=command.stopped)

    def _response_done(self, notice: do.ResponseDoneNotice) -> None:
        RESPONSES.labels(notice.status.value).inc()
        if notice.status is Status.FAILED:
            self._log.warning("response failed", response=notice.response_id, why=notice.message)
        self._client.notify(notice)

    def _turn_failed(self, notice: do.TurnFailedNotice) -> None:
        TURNS_FAILED.inc()
        self._log.warning("turn failed", turn=notice.turn_id, why=notice.message)
        self._client.notify(notice)
