"""Services that hold a conversation by themselves, and what a listener's test needs to be a client.

Speech is any audio that is not silent. What is understood of it is its first sample, and the answer is a tone of that
sample: a client that hears any other tone hears another client's answer.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bus.frames import Frame, Header
from gateway.bus_link import BusLink
from gateway.core.events import Role
from gateway.settings import GatewaySettings
from proto.v1 import speech_pb2 as pb
from tests.gateway.services import FakeService
from tests.support.bus import ipc_folder
from tests.support.waiting import until

ANSWER_SAMPLES = 5000
SILENCE = bytes(16_384)


def tone(sample: int, samples: int = 8192) -> bytes:
    """Return audio made of one value."""
    return sample.to_bytes(2, "little") * samples


class Suite:
    """A gateway's end of the bus, and services that answer every turn."""

    def __init__(self, folder: Path) -> None:
        self.link = BusLink(f"ipc://{folder}/gateway.ipc")
        self.answer_samples = ANSWER_SAMPLES
        self._turns: dict[str, int] = {}
        self._said: dict[str, int] = {}
        address = self.link.address
        self.vad, self.asr, self.llm, self.tts = (_Scripted(self, folder, role, role.value, address) for role in Role)

    def announce(self, **said: Any) -> None:
        """Tell the gateway that all services are here."""
        for service in (self.vad, self.asr, self.llm, self.tts):
            service.announce(**{"capacity": 1000} | said)

    def hear(self, service: FakeService, body: str, frame: Frame) -> None:
        """Do the work of *service*."""
        match body:
            case "session_open":
                service.answer(frame, audio_ack=pb.AudioAck(consumed_sample=frame.session_open.at_sample))
            case "audio":
                self._listen(frame)
            case "generation_request":
                self._respond(frame)
            case "session_close":
                self._said.pop(frame.header.session_id, None)

    def close(self) -> None:
        """Leave the bus."""
        self.link.close()
        for service in (self.vad, self.asr, self.llm, self.tts):
            service.close()

    def _listen(self, frame: Frame) -> None:
        session_id, audio = frame.header.session_id, frame.audio
        end = audio.at_sample + len(audio.pcm) // 2
        header = Header(session_id=session_id, turn_id=self._turns.get(session_id, 0), reply_to=frame.header.reply_to)
        samples = memoryview(audio.pcm).cast("H")
        heard = next((sample for sample in samples if sample), 0)
        if heard and session_id not in self._said:
            self._said[session_id] = heard
            self._turns[session_id] = header.turn_id = header.turn_id + 1
            started = pb.SpeechStarted(at_sample=audio.at_sample, decided_at_sample=end)
            self.vad.send(header, speech_started=started)
        if session_id in self._said and not samples[-1]:
            self.vad.send(header, speech_stopped=pb.SpeechStopped(at_sample=end, decided_at_sample=end))
            self.asr.send(header, transcript=pb.Transcript(text=str(self._said.pop(session_id))))
        self.vad.send(header, audio_ack=pb.AudioAck(consumed_sample=end))

    def _respond(self, request: Frame) -> None:
        text = request.generation_request.messages[-1].parts[0].text
        self.llm.answer(request, text_delta=pb.TextDelta(text=text))
        self.llm.answer(request, generation_done=pb.GenerationDone(reason=pb.GenerationDone.STOP))
        pcm = tone(int(text.split()[-1]), self.answer_samples)
        self.tts.answer(request, speech_out=pb.SpeechOut(pcm=pcm, sample_rate=16_000, text=text))
        self.tts.answer(request, synthesis_done=pb.SynthesisDone())


class _Scripted(FakeService):
    def __init__(self, suite: Suite, folder: Path, role: Role, name: str, gateway: str) -> None:
        self._suite = suite
        super().__init__(folder, role, name, gateway)

    def _receive(self, body: str, frame: Frame) -> None:
        super()._receive(body, frame)
        self._suite.hear(self, body, frame)


@asynccontextmanager
async def suite(**said: Any) -> AsyncIterator[Suite]:
    """Yield a suite whose services the gateway knows; *said* changes what they announce of themselves."""
    with ipc_folder() as folder:
        here = Suite(folder)
        try:
            here.announce(**said)
            await until(lambda: len(here.link.registry.all()) == len(Role))
            yield here
        finally:
            here.close()


def told(**flags: Any) -> GatewaySettings:
    """Return settings for a listener on free ports of this machine, where audio is handed over at once."""
    facts: dict[str, Any] = {
        "recv_host": "127.0.0.1",
        "recv_port": 0,
        "send_host": "127.0.0.1",
        "send_port": 0,
        "ws_host": "127.0.0.1",
        "ws_port": 0,
        "lead_ms": 10_000,
        "reopen_ms": 0,
        "starvation_ms": 50,
    }
    return GatewaySettings(**(facts | flags))
