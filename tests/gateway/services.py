"""Services in the test's own loop that do what the test says, and a client that keeps what it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from bus.frames import Frame, Header, answer
from bus.node import Node
from gateway.bus_link import BusLink
from gateway.core import commands as do
from gateway.core.events import Role
from gateway.core.session import SessionSettings
from gateway.raw_driver import RawDriver
from proto.v1 import speech_pb2 as pb
from tests.gateway.replicas import ROLE_NUMBERS, announcement
from tests.support.bus import PATIENCE_S, ipc_folder
from tests.support.waiting import until

N = TypeVar("N")


class FakeService:
    """A process on the bus that keeps every frame, and answers what the test answers."""

    def __init__(self, folder: Path, role: Role, name: str, gateway: str) -> None:
        self.role = role
        self.name = name
        self.received: list[tuple[str, Frame]] = []
        self._gateway = gateway
        self._taken = 0
        self._arrived = asyncio.Event()
        self._instance = 1
        self._bind = f"ipc://{folder}/{name}.ipc"
        self._node = Node(self._bind, ROLE_NUMBERS[role], self._receive)
        self.address = self._node.address

    def announce(self, **said: Any) -> None:
        """Tell the gateway that this service is here."""
        facts = {"instance_id": f"{self.name}-{self._instance}", "inbox": self.address} | said
        self._node.send(self._gateway, Frame(announcement=announcement(self.role, self.name, **facts)))

    def restart(self) -> None:
        """Be another process at the same address."""
        self._node.close()
        self._node = Node(self._bind, ROLE_NUMBERS[self.role], self._receive)
        self._instance += 1
        self.announce()

    def send(self, header: Header, **body: Any) -> None:
        """Send one body to the gateway as if *header* had asked for it."""
        self._node.send(self._gateway, answer(header, **body))

    def answer(self, frame: Frame, **body: Any) -> None:
        """Answer *frame* with one body, where it says that answers go."""
        self._node.send(frame.header.reply_to, answer(frame.header, **body))

    def refuse(self, frame: Frame, retry_after_ms: int = 60_000) -> None:
        """Say that this service is full."""
        full = pb.AtCapacity(role=ROLE_NUMBERS[self.role], retry_after_ms=retry_after_ms)
        self.answer(frame, refusal=pb.Refusal(at_capacity=full))

    def fail(
        self, frame: Frame, code: pb.Error.Code.ValueType = pb.Error.ENGINE_FAILED, *, retryable: bool = False
    ) -> None:
        """Say that *frame* cannot be served; *retryable*: here."""
        role = ROLE_NUMBERS[self.role]
        self.answer(frame, error=pb.Error(code=code, message="broken", role=role, retryable=retryable))

    async def next(self, *bodies: str) -> Frame:
        """Return the next frame with one of *bodies*, skipping others."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self._taken < len(self.received):
                    body, frame = self.received[self._taken]
                    self._taken += 1
                    if body in bodies:
                        return frame
                self._arrived.clear()
                await self._arrived.wait()

    def bodies(self) -> list[str]:
        """Return the names of all bodies that came so far."""
        return [body for body, _ in self.received]

    def close(self) -> None:
        """Leave the bus."""
        self._node.close()

    def _receive(self, body: str, frame: Frame) -> None:
        self.received.append((body, frame))
        self._arrived.set()


class FakeClient:
    """A connection that keeps what the driver hands it."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.pcm = b""
        self.ended: list[bool] = []
        self.latencies: list[tuple[int, dict[str, float]]] = []
        self.disconnected: list[tuple[str, bool]] = []
        self.left = False
        self._happened = asyncio.Event()
        self._taken = 0

    def play(self, pcm: bytes) -> None:
        """Keep audio."""
        self.pcm += pcm
        self._happened.set()

    def play_ended(self, *, stopped: bool) -> None:
        """Keep the end of an answer."""
        self.ended.append(stopped)

    def notify(self, notice: do.Notice) -> None:
        """Keep a notice."""
        self.told.append(notice)
        self._happened.set()

    def latency(self, turn_id: int, spent_ms: dict[str, float]) -> None:
        """Keep a latency."""
        self.latencies.append((turn_id, spent_ms))

    def disconnect(self, reason: str, *, try_again: bool = False) -> None:
        """Keep the reason."""
        self.disconnected.append((reason, try_again))
        self._happened.set()

    def leave(self) -> None:
        """Keep the goodbye."""
        self.left = True

    async def next(self, kind: type[N]) -> N:
        """Return the next notice of this kind, skipping others."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self._taken < len(self.told):
                    notice = self.told[self._taken]
                    self._taken += 1
                    if isinstance(notice, kind):
                        return notice
                await self._more()

    async def is_disconnected(self) -> tuple[str, bool]:
        """Wait for the disconnection; return its reason, and whether the client should try again."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.disconnected:
                await self._more()
        return self.disconnected[0]

    async def _more(self) -> None:
        self._happened.clear()
        await self._happened.wait()


# All audio at once and no reopening: nothing here depends on the clock.
AT_ONCE = SessionSettings(lead_ms=60_000, reopen_ms=0, instructions="Be brief.")
SECOND = b"\1\0" * 16_000


class World:
    """A gateway's end of the bus with services around it, and one client."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = BusLink(f"ipc://{folder}/gateway.ipc")
        self.services: list[FakeService] = []
        self.client = FakeClient()
        self.driver = self.new_driver(self.client)
        self.vad, self.asr, self.llm, self.tts = (self.add(role) for role in Role)

    def add(self, role: Role, name: str = "") -> FakeService:
        """Start another service; it announces nothing yet."""
        service = FakeService(self.folder, role, name or role.value, self.link.address)
        self.services.append(service)
        return service

    def new_driver(self, client: FakeClient, settings: SessionSettings = AT_ONCE) -> RawDriver:
        """Return a session for *client* that is not open yet."""
        return RawDriver(
            self.link,
            client,
            settings=settings,
            endpointing=pb.Endpointing(silence_duration_ms=500),
            recognition=pb.Recognition(language="en", partials=True),
            voice="alto",
        )

    async def until_known(self, services: int) -> None:
        """Wait until so many services are known to be here."""
        await until(lambda: len([replica for replica in self.link.registry.all() if replica.usable]) >= services)

    async def opened(self) -> Frame:
        """Open the session; return what the vad is asked."""
        self.driver.open(max_sessions=10)
        return await self.vad.next("session_open")

    async def says(self, turn_id: int, text: str) -> Frame:
        """Speak one turn; return the request that its text leads to."""
        await self.begins_to_speak(turn_id)
        self.stops_speaking(turn_id)
        await self.client.next(do.SpeechStoppedNotice)
        self.asr.send(self.header(turn_id=turn_id), transcript=pb.Transcript(text=text, audio_ms=500))
        await self.client.next(do.ResponseStartedNotice)
        return await self.llm.next("generation_request")

    async def begins_to_speak(self, turn_id: int) -> None:
        """Have the vad hear a turn begin, and the client know."""
        started = pb.SpeechStarted(at_sample=turn_id * 32_000, decided_at_sample=turn_id * 32_000)
        self.vad.send(self.header(turn_id=turn_id), speech_started=started)
        await self.client.next(do.SpeechStartedNotice)

    def stops_speaking(self, turn_id: int) -> None:
        """Have the vad hear the turn end."""
        stamps = [pb.Stamp(stage=pb.Stamp.GATEWAY_RECEIVED, unix_us=1)]
        header = self.header(turn_id=turn_id)
        stopped = pb.SpeechStopped(at_sample=turn_id * 32_000 + 1000, decided_at_sample=turn_id * 32_000 + 9000)
        frame = answer(header, speech_stopped=stopped)
        frame.header.stamps.extend(stamps)
        self.vad._node.send(self.link.address, frame)

    def answers(self, request: Frame, text: str, pcm: bytes) -> None:
        """Have llm and tts make a whole answer."""
        self.llm.answer(request, text_delta=pb.TextDelta(text=text))
        self.llm.answer(request, generation_done=pb.GenerationDone(reason=pb.GenerationDone.STOP))
        self.speaks(request, text, pcm)

    def speaks(self, request: Frame, text: str, pcm: bytes) -> None:
        """Have the tts say all it has to."""
        self.tts.answer(request, speech_out=pb.SpeechOut(pcm=pcm, sample_rate=16_000, text=text))
        self.tts.answer(request, synthesis_done=pb.SynthesisDone())

    def header(self, **ids: Any) -> Header:
        """Return a header of the client's session."""
        return Header(session_id=self.driver.session_id, reply_to=self.link.address, **ids)

    def places(self) -> dict[str, list[str]]:
        """Return the work that has a place, by service."""
        return {
            replica.said.instance_id: sorted(work for _, work in replica.places)
            for replica in self.link.registry.all()
            if replica.places
        }

    def close(self) -> None:
        """Leave the bus."""
        self.driver.close()
        self.link.close()
        for service in self.services:
            service.close()


@asynccontextmanager
async def world(*, announced: bool = True) -> AsyncIterator[World]:
    """Yield a world with one service of each role, which the gateway knows if they are *announced*."""
    with ipc_folder() as folder:
        here = World(folder)
        try:
            if announced:
                for service in here.services:
                    service.announce()
                await here.until_known(len(here.services))
            yield here
        finally:
            here.close()
