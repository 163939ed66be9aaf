"""The gateway's end of the bus: whose frame is whose, who is here, and who still holds what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import structlog

import gateway.bus_link
from bus.frames import Frame, Header
from bus.metrics import FRAMES_DROPPED
from gateway.bus_link import MIN_RETRY_MS, BusLink
from gateway.core.events import Role
from gateway.registry import Replica
from proto.v1 import speech_pb2 as pb
from tests.gateway.services import World, world
from tests.support.bus import PATIENCE_S
from tests.support.waiting import until


class Listener:
    """A session that keeps what it hears from the bus."""

    def __init__(self) -> None:
        self.broken = False
        self.drained = False
        self.frames: list[tuple[str, Frame]] = []
        self.lost: list[Replica] = []
        self.looked = 0
        self._happened = asyncio.Event()

    def frame_received(self, body: str, frame: Frame) -> None:
        """Keep a frame."""
        self.frames.append((body, frame))
        self._happened.set()

    def replica_lost(self, replica: Replica) -> None:
        """Keep a replica."""
        self.lost.append(replica)
        self._hears()

    def look_again(self) -> None:
        """Count."""
        self.looked += 1
        self._hears()

    def drain(self) -> None:
        """Keep that."""
        self.drained = True
        self._hears()

    async def hears(self) -> None:
        """Wait until something more has come."""
        async with asyncio.timeout(PATIENCE_S):
            await self._happened.wait()
        self._happened.clear()

    def _hears(self) -> None:
        self._happened.set()
        if self.broken:
            raise ZeroDivisionError("canary")


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as here:
        yield here


@asynccontextmanager
async def watching(link: BusLink, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Have the link look after replicas and leases a hundred times as often as it would."""
    monkeypatch.setattr(gateway.bus_link, "BEAT_S", 0.01)
    task = asyncio.create_task(link.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def replica_of(link: BusLink, role: Role) -> Replica:
    (replica,) = [replica for replica in link.registry.all() if replica.role is role]
    return replica


async def test_it_is_ready_once_every_role_has_announced_itself() -> None:
    async with world(announced=False) as here:
        assert here.link.not_ready() == "not ready: vad, asr, llm, tts"
        for count, service in enumerate((here.vad, here.llm, here.tts), start=1):
            service.announce()
            await here.until_known(count)
        assert here.link.not_ready() == "not ready: asr"
        assert here.link.health.why_not_ready() == "not ready: asr"
        here.asr.announce()
        await here.until_known(4)
        assert here.link.not_ready() == ""


async def test_a_frame_goes_to_its_session_and_to_no_other(here: World) -> None:
    one, other = Listener(), Listener()
    here.link.attach("one", one)
    here.link.attach("other", other)
    here.vad.send(Header(session_id="one", turn_id=3), speech_started=pb.SpeechStarted())
    await one.hears()
    assert [(body, frame.header.turn_id) for body, frame in one.frames] == [("speech_started", 3)]
    assert other.frames == []


async def test_frames_of_a_session_that_is_not_here_are_counted_and_dropped(here: World) -> None:
    listener = Listener()
    here.link.attach("gone", listener)
    here.link.attach("here", listener)
    here.link.detach("gone")
    here.link.detach("gone")
    before = FRAMES_DROPPED.labels("unknown_session")._value.get()
    here.vad.send(Header(session_id="gone"), audio_ack=pb.AudioAck())
    here.vad.send(Header(session_id="never"), audio_ack=pb.AudioAck())
    here.vad.send(Header(session_id="here"), audio_ack=pb.AudioAck())
    await listener.hears()
    assert [frame.header.session_id for _, frame in listener.frames] == ["here"]
    assert FRAMES_DROPPED.labels("unknown_session")._value.get() == before + 2


async def test_every_session_hears_that_a_service_was_started_again(here: World) -> None:
    listener = Listener()
    here.link.attach("one", listener)
    old = replica_of(here.link, Role.ASR)
    here.asr.restart()
    await listener.hears()
    assert listener.lost == [old]
    assert old.gone
    assert listener.looked == 1
    assert replica_of(here.link, Role.ASR) is not old


async def test_a_service_that_falls_silent_is_lost(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    here.link.attach("one", listener)
    silent = replica_of(here.link, Role.TTS)
    silent.heard_at_s -= 100
    async with watching(here.link, monkeypatch):
        while not listener.lost:
            await listener.hears()
    assert listener.lost == [silent]
    assert here.link.not_ready() == "not ready: tts"


async def test_a_service_whose_connection_ends_is_lost_at_once_and_comes_back_by_its_announcement(here: World) -> None:
    listener = Listener()
    here.link.attach("s1", listener)
    here.link.send(here.asr.address, Frame(lease_renewal=pb.LeaseRenewal()))
    await here.asr.next("lease_renewal")
    here.asr._node.close()
    await listener.hears()
    assert [replica.role for replica in listener.lost] == [Role.ASR]
    assert here.link.not_ready() == "not ready: asr"
    here.asr.restart()
    await until(lambda: not here.link.not_ready())


async def test_leases_are_renewed_where_a_session_has_a_place(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.bus_link, "RENEWED_AT_ONCE", 2)
    replica_of(here.link, Role.VAD).places |= {("c", "audio"), ("a", "audio"), ("b", "audio"), ("a", "more")}
    async with watching(here.link, monkeypatch):
        renewals = [(await here.vad.next("lease_renewal")).lease_renewal.session_ids for _ in range(4)]
        empty = (await here.asr.next("lease_renewal")).lease_renewal.session_ids
    assert renewals == [["a", "b"], ["c"], ["a", "b"], ["c"]]
    assert empty == []  # a connection is held, by whose end a death shows


async def test_sessions_look_again_at_every_beat(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    here.link.attach("one", listener)
    async with watching(here.link, monkeypatch):
        while listener.looked < 3:
            await listener.hears()


async def test_a_session_that_fails_keeps_no_other_from_hearing(here: World) -> None:
    sessions = {name: Listener() for name in ("one", "broken", "other")}
    sessions["broken"].broken = True
    for name, session in sessions.items():
        here.link.attach(name, session)
        here.link.wait(name)
    with structlog.testing.capture_logs() as logs:
        here.link.freed()
        await until(lambda: sessions["other"].looked)
        here.asr.restart()
        await until(lambda: sessions["other"].looked == 2)
        here.link.drain()
    for session in sessions.values():
        assert (session.looked, len(session.lost), session.drained) == (2, 1, True)
    failures = [line["session"] for line in logs if line["event"] == "session failed"]
    assert failures == ["broken"] * 4


async def test_a_service_that_has_refused_is_left_alone_and_never_for_less_than_it_asked(here: World) -> None:
    asr = replica_of(here.link, Role.ASR)
    now = asyncio.get_running_loop().time()
    here.link.refused(asr, 60_000)
    here.link.refused(asr, 0)
    assert here.link.pick(Role.ASR) is None
    assert asr.full_until_s >= now + 60
    vad = replica_of(here.link, Role.VAD)
    here.link.refused(vad, 0)
    assert vad.full_until_s >= now + MIN_RETRY_MS / 1000


async def test_garbage_does_not_stop_the_gateway(here: World) -> None:
    listener = Listener()
    here.link.attach("one", listener)
    node = here.vad._node
    outbox = node._outboxes[here.link.address]
    for data in (b"", b"\xff" * 100, Frame(header=Header(session_id="one")).SerializeToString()):
        outbox.send(data)
    here.vad.send(Header(session_id="one"), audio_ack=pb.AudioAck())
    await listener.hears()
    assert [body for body, _ in listener.frames] == ["audio_ack"]
