"""A process on the bus: it survives what it receives, and holds a bounded number of peers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from bus import node as node_module
from bus.errors import ConfigurationError
from bus.frames import Frame, Header
from bus.node import Node, reachable
from bus.sockets import HARD_LIMIT_BYTES
from proto.v1 import speech_pb2 as pb
from tests.support.bus import ipc_folder
from tests.support.waiting import until


@pytest.fixture
def folder() -> Iterator[Path]:
    with ipc_folder() as path:
        yield path


class Peer(Node):
    """A node that keeps what it receives."""

    def __init__(self, folder: Path, name: str) -> None:
        self.received: list[tuple[str, Frame]] = []
        super().__init__(f"ipc://{folder}/{name}", pb.GATEWAY, self._keep)

    async def got(self, count: int) -> list[str]:
        await until(lambda: len(self.received) >= count)
        return [body for body, _ in self.received]

    def _keep(self, body: str, frame: Frame) -> None:
        self.received.append((body, frame))
        if frame.header.session_id == "crash":
            raise ZeroDivisionError


@pytest.fixture
async def peers(folder: Path) -> AsyncIterator[tuple[Peer, Peer]]:
    here, there = Peer(folder, "here"), Peer(folder, "there")
    yield here, there
    here.close()
    there.close()


def frame(session_id: str = "s1", reply_to: str = "", **body: Any) -> Frame:
    return Frame(header=Header(session_id=session_id, reply_to=reply_to), **(body or {"cancel": pb.Cancel()}))


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_what_one_sends_the_other_receives_and_both_count(peers: tuple[Peer, Peer]) -> None:
    here, there = peers
    sent, taken = (metric(f"speech_frames_{way}_total", body="drain") for way in ("sent", "received"))
    here.send(there.address, Frame(drain=pb.Drain()))
    assert await there.got(1) == ["drain"]
    assert metric("speech_frames_sent_total", body="drain") == sent + 1
    assert metric("speech_frames_received_total", body="drain") == taken + 1


async def test_a_receiver_that_raises_loses_that_frame_only(peers: tuple[Peer, Peer]) -> None:
    here, there = peers
    lost = metric("speech_frames_dropped_total", reason="receiver_failed")
    for session in ("s1", "crash", "s2"):
        here.send(there.address, frame(session))
    assert len(await there.got(3)) == 3
    assert metric("speech_frames_dropped_total", reason="receiver_failed") == lost + 1


async def test_a_frame_without_a_known_body_is_answered_to_reply_to(peers: tuple[Peer, Peer]) -> None:
    here, there = peers
    outbox = here._connect(there.address)
    assert outbox is not None
    outbox.send(Frame(header=Header(session_id="s1", reply_to=here.address)).SerializeToString())
    await here.got(1)
    error = here.received[0][1].error
    assert (error.code, error.role) == (pb.Error.BAD_FRAME, pb.GATEWAY)


async def test_an_error_that_cannot_be_used_is_not_answered(peers: tuple[Peer, Peer]) -> None:
    """An error has no reply_to, so that two peers never keep each other busy."""
    here, there = peers
    here.fail(Header(session_id="s1", reply_to=there.address), pb.Error.BAD_FRAME, "no")
    await there.got(1)
    assert there.received[0][1].header.reply_to == ""


async def test_frames_to_nobody_and_to_nonsense_are_let_go(peers: tuple[Peer, Peer]) -> None:
    here, there = peers
    bad = metric("speech_frames_dropped_total", reason="bad_address")
    here.send("", frame())
    for address in ("nonsense", "tcp://", "tcp://host:port", "pgm://1.2.3.4:5", "ipc://" + "x" * 500, "\x00"):
        here.send(address, frame())
    assert metric("speech_frames_dropped_total", reason="bad_address") > bad
    here.send(there.address, frame())
    assert await there.got(1) == ["cancel"]


async def test_a_frame_that_would_cut_the_connection_does_not_leave(peers: tuple[Peer, Peer]) -> None:
    here, there = peers
    here.send(there.address, frame(audio=pb.Audio(pcm=bytes(HARD_LIMIT_BYTES))))
    here.send(there.address, frame())
    assert await there.got(1) == ["cancel"]


async def test_a_frame_without_a_body_is_the_senders_mistake(peers: tuple[Peer, Peer]) -> None:
    with pytest.raises(ValueError, match="without a body"):
        peers[0].send(peers[1].address, Frame())


async def test_invented_addresses_do_not_use_up_the_sockets(
    peers: tuple[Peer, Peer], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "PEERS", 8)
    here, there = peers
    here.send(there.address, frame())
    await there.got(1)
    for number in range(40):
        here.send(f"ipc://{folder}/nobody-{number}", frame())
        assert len(here._outboxes) <= 8
    here.send(there.address, frame())
    assert len(await there.got(2)) == 2


async def test_a_peer_that_nothing_is_sent_to_is_forgotten(
    peers: tuple[Peer, Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = peers
    here.send(there.address, frame())
    await there.got(1)
    here.forget_idle()
    assert there.address in here._outboxes
    monkeypatch.setattr(node_module, "IDLE_PEER_S", -1.0)
    here.forget_idle()
    assert not here._outboxes
    assert not here._used_at
    here.send(there.address, frame())
    assert len(await there.got(2)) == 2


async def test_the_end_of_a_peer_is_told_at_once(folder: Path) -> None:
    lost: list[str] = []
    there = Peer(folder, "there")
    node = Node(f"ipc://{folder}/here", pb.GATEWAY, lambda _body, _frame: None, lost=lost.append)
    node.send(there.address, frame(progress=pb.Progress()))
    await there.got(1)
    assert lost == []
    there.close()
    await until(lambda: lost)
    assert lost == [there.address]
    node.close()


async def test_a_peer_that_was_never_there_is_not_lost(folder: Path) -> None:
    lost: list[str] = []
    node = Node(f"ipc://{folder}/here", pb.GATEWAY, lambda _body, _frame: None, lost=lost.append)
    node.send(f"ipc://{folder}/nobody", frame(progress=pb.Progress()))
    await asyncio.sleep(0.15)  # several attempts to connect
    node.close()
    await asyncio.sleep(0.01)
    assert lost == []


async def test_control_goes_ahead_of_media_and_marks_keep_their_place(folder: Path) -> None:
    here = Peer(folder, "here")
    address = f"ipc://{folder}/late"
    for number in range(700):  # nobody is there: some wait inside ZeroMQ, the rest in our queue
        here.send(address, frame(speech_out=pb.SpeechOut(pcm=bytes(1000), at_ms=number)))
    here.send(address, frame(synthesis_done=pb.SynthesisDone()))
    here.send(address, frame(audio_ack=pb.AudioAck()))
    late = Peer(folder, "late")
    bodies = await late.got(702)
    assert bodies[-1] == "synthesis_done"
    assert bodies.index("audio_ack") < 700
    assert [f.speech_out.at_ms for body, f in late.received if body == "speech_out"] == list(range(700))
    here.close()
    late.close()


async def test_an_inbox_that_cannot_be_bound_leaves_nothing_open(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(ConfigurationError, match="--bind"):
        Node(f"ipc://{folder}/file", pb.VAD, lambda _body, _frame: None)


async def test_what_is_advertised_is_what_others_are_told(folder: Path) -> None:
    node = Node(f"ipc://{folder}/x", pb.VAD, lambda _body, _frame: None, advertise="tcp://10.0.0.1:7701")
    assert node.address == "tcp://10.0.0.1:7701"
    node.close()


def test_all_interfaces_are_no_address_to_send_to() -> None:
    host = reachable("tcp://0.0.0.0:7701").removeprefix("tcp://").removesuffix(":7701")
    assert host != "0.0.0.0"
    assert host.count(".") == 3
    assert reachable("tcp://127.0.0.1:7701") == "tcp://127.0.0.1:7701"
    assert reachable("ipc:///tmp/x") == "ipc:///tmp/x"
