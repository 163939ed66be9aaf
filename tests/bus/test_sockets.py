"""Sockets on the loop: no wake-up is lost, nothing grows without bound, no peer harms another."""

import asyncio
import contextlib
import socket as posix
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import uvloop
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import sockets
from bus.errors import ConfigurationError
from bus.sockets import HARD_LIMIT_BYTES, Context, Inbox, Lane, Outbox, Receive, ipc_path
from tests.support.bus import PATIENCE_S, ipc_folder
from tests.support.waiting import until


@pytest.fixture
def folder() -> Iterator[Path]:
    with ipc_folder() as path:
        yield path


class Sockets(Context):
    """Closes what a test opened, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._opened: list[Inbox | Outbox | zmq.Socket[bytes]] = []

    def inbox(self, address: str, receive: Receive) -> Inbox:
        self._opened.append(opened := super().inbox(address, receive))
        return opened

    def outbox(self, address: str) -> Outbox:
        self._opened.append(opened := super().outbox(address))
        return opened

    def raw(self, address: str) -> zmq.Socket[bytes]:
        """Return a peer that reads only when told to."""
        self._opened.append(pull := self._socket(zmq.PULL))
        pull.bind(address)
        return pull

    def close(self) -> None:
        for opened in self._opened:
            opened.close()
        super().close()


@pytest.fixture
async def context() -> AsyncIterator[Sockets]:
    made = Sockets()
    yield made
    made.close()


class Taken:
    """Keeps what an inbox hands over."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.batches: list[int] = []

    def __call__(self, batch: list[bytes]) -> None:
        self.messages += batch
        self.batches.append(len(batch))


async def read_all(pull: zmq.Socket[bytes], count: int) -> list[bytes]:
    taken: list[bytes] = []

    def some() -> bool:
        with contextlib.suppress(zmq.Again):
            while True:
                taken.append(pull.recv(zmq.NOBLOCK))
        return len(taken) >= count

    await until(some)
    return taken


@pytest.mark.parametrize("where", ["ipc", "tcp"])
async def test_what_is_sent_arrives_in_order(context: Sockets, folder: Path, where: str) -> None:
    taken = Taken()
    address = f"ipc://{folder}/in" if where == "ipc" else "tcp://127.0.0.1:*"
    inbox = context.inbox(address, taken)
    outbox = context.outbox(inbox.address)
    sent = [b"%d" % number for number in range(5000)]
    for message in sent:
        outbox.send(message)
    await until(lambda: len(taken.messages) == len(sent))
    assert taken.messages == sent
    assert outbox.waiting == outbox.dropped == 0


def test_no_wake_up_is_lost_whatever_the_bursts_and_pauses() -> None:
    """Two nodes' worth of sockets answer each other in bursts; a lost wake-up would leave the last message waiting."""
    pauses = st.sampled_from([None, 0.0, 0.0, 0.001])
    steps = st.lists(st.tuples(st.integers(1, 400), pauses), min_size=1, max_size=8)

    async def scene(bursts: list[tuple[int, float | None]]) -> None:
        context = Sockets()
        with ipc_folder() as folder:
            there, back = Taken(), Taken()
            far = context.inbox(f"ipc://{folder}/far", lambda batch: answer(batch))  # noqa: PLW0108 - not yet defined
            near = context.inbox(f"ipc://{folder}/near", back)
            to_far, to_near = context.outbox(far.address), context.outbox(near.address)

            def answer(batch: list[bytes]) -> None:
                there(batch)
                for message in batch:
                    to_near.send(message, Lane.MEDIA)

            sent = 0
            try:
                for count, pause in bursts:
                    for _ in range(count):
                        to_far.send(b"%d" % sent, Lane.MEDIA)
                        sent += 1
                    if pause is not None:
                        await asyncio.sleep(pause)
                await until(lambda: len(back.messages) == sent)
                assert back.messages == [b"%d" % number for number in range(sent)]
            finally:
                context.close()

    @settings(max_examples=50, deadline=None)
    @given(steps)
    def interleave(bursts: list[tuple[int, float | None]]) -> None:
        asyncio.run(scene(bursts))
        uvloop.run(scene(bursts))

    interleave()


async def test_a_peer_that_stalls_and_goes_on_gets_everything(context: Sockets, folder: Path) -> None:
    pull = context.raw(f"ipc://{folder}/slow")
    outbox = context.outbox(f"ipc://{folder}/slow")
    sent = [b"%05d" % number + bytes(1000) for number in range(3000)]
    for number, message in enumerate(sent):
        outbox.send(message, Lane.MEDIA)
        if number % 500 == 0:
            await asyncio.sleep(0.002)
    assert outbox.waiting > 0
    assert await read_all(pull, len(sent)) == sent
    await until(lambda: not outbox.waiting)


async def test_a_peer_that_never_reads_costs_a_bounded_queue(
    context: Sockets, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Outbox, "MEDIA_BYTES", 100_000)
    monkeypatch.setattr(Outbox, "MARK_BYTES", 1000)
    monkeypatch.setattr(Outbox, "CONTROL_FRAMES", 50)
    pull = context.raw(f"ipc://{folder}/deaf")
    outbox = context.outbox(f"ipc://{folder}/deaf")
    while outbox.send(b"m" * 1000, Lane.MEDIA):
        if outbox._blocked:
            continue
        await asyncio.sleep(0)
    media = len(outbox._media)
    assert media == 100
    assert outbox.send(b"end", Lane.MARK)
    controls = [outbox.send(b"c%d" % number) for number in range(60)]
    assert controls == [True] * 50 + [False] * 10
    assert outbox.dropped == 11
    assert outbox.waiting == 151
    taken: list[bytes] = []
    while b"end" not in taken:
        taken += await read_all(pull, 1)
    first_control = taken.index(b"c0")
    assert taken[first_control : first_control + 50] == [b"c%d" % number for number in range(50)]
    assert taken[first_control + 50 :] == [b"m" * 1000] * 100 + [b"end"]


async def test_control_is_bounded_in_bytes_too(context: Sockets, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbox, "CONTROL_BYTES", 10_000)
    context.raw(f"ipc://{folder}/deaf")
    outbox = context.outbox(f"ipc://{folder}/deaf")
    sent = 0
    while outbox.send(b"c" * 4000):
        sent += 1
        await asyncio.sleep(0)
    assert len(outbox._control) == 2
    assert sent > 2


async def test_an_inbox_under_load_leaves_the_loop_to_others(context: Sockets, folder: Path) -> None:
    """One batch of bounded size a turn of the loop, however many descriptors fire."""
    taken = Taken()
    inbox = context.inbox(f"ipc://{folder}/in", taken)
    outbox = context.outbox(inbox.address)
    turns = 0
    while len(taken.messages) < 20_000:
        for _ in range(300):
            outbox.send(b"x" * 100, Lane.MEDIA)
        before = len(taken.batches)
        await asyncio.sleep(0)
        turns += 1
        # The descriptor and the drain that was due: two rounds of one message and one batch.
        assert len(taken.batches) - before <= 4
    assert max(taken.batches) <= sockets.BATCH
    assert turns > 20_000 / (2 * sockets.BATCH + 2)


async def test_large_messages_end_a_batch_early(context: Sockets, folder: Path) -> None:
    taken = Taken()
    pushes = context.outbox(f"ipc://{folder}/in")
    for _ in range(20):
        pushes.send(bytes(sockets.BATCH_BYTES // 2), Lane.MEDIA)
    context.inbox(f"ipc://{folder}/in", taken)
    await until(lambda: len(taken.messages) == 20)
    assert max(taken.batches) <= 2


async def test_a_peer_may_be_replaced_at_the_same_address(folder: Path) -> None:
    address = f"ipc://{folder}/service"
    sender = Sockets()
    outbox = sender.outbox(address)
    for life in range(3):
        context, taken = Sockets(), Taken()
        context.inbox(address, taken)
        outbox.send(b"life %d" % life)
        await until(lambda taken=taken, life=life: b"life %d" % life in taken.messages)  # type: ignore[misc]
        context.close()
        assert not (folder / "service").exists()
    sender.close()


async def test_a_message_beyond_the_hard_limit_cuts_only_its_senders_connection(folder: Path) -> None:
    taken = Taken()
    receiver, good, bad = Sockets(), Context(), Context()
    inbox = receiver.inbox(f"ipc://{folder}/in", taken)
    to_good, to_bad = good.outbox(inbox.address), bad.outbox(inbox.address)
    to_good.send(b"before")
    to_bad.send(bytes(HARD_LIMIT_BYTES + 1))
    await until(lambda: b"before" in taken.messages)
    to_good.send(b"after")
    await until(lambda: b"after" in taken.messages)
    async with asyncio.timeout(PATIENCE_S):
        while b"again" not in taken.messages:  # what was on its way when the connection was cut is lost
            to_bad.send(b"again")
            await asyncio.sleep(0.05)
    assert max(len(message) for message in taken.messages) < 10
    for context in (good, bad, receiver):
        context.close()


async def test_strangers_bytes_on_the_port_disturb_nobody(context: Sockets) -> None:
    taken = Taken()
    inbox = context.inbox("tcp://127.0.0.1:*", taken)
    port = int(inbox.address.rpartition(":")[2])
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1000, b""):
        with posix.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(noise)
    context.outbox(inbox.address).send(b"hello")
    await until(lambda: taken.messages == [b"hello"])


async def test_who_connects_and_says_nothing_is_cut_off(context: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "HANDSHAKE_MS", 50)
    inbox = context.inbox("tcp://127.0.0.1:*", Taken())
    reader, writer = await asyncio.open_connection("127.0.0.1", int(inbox.address.rpartition(":")[2]))
    async with asyncio.timeout(PATIENCE_S):
        await reader.read()  # its greeting, then the end
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("address", ["", "nonsense", "tcp://127.0.0.1", "tcp://192.0.2.1:7700", "ipc:///no/such/dir/x"])
async def test_an_address_that_cannot_be_bound_is_told_with_a_remedy(context: Sockets, address: str) -> None:
    with pytest.raises(ConfigurationError, match="--bind") as error:
        context.inbox(address, Taken())
    assert "\n" not in str(error.value)


async def test_a_taken_address_is_told_and_its_owner_goes_on(context: Sockets, folder: Path) -> None:
    for address in (f"ipc://{folder}/in", "tcp://127.0.0.1:*"):
        taken = Taken()
        inbox = context.inbox(address, taken)
        with pytest.raises(ConfigurationError, match="--bind"):
            context.inbox(inbox.address, Taken())
        context.outbox(inbox.address).send(b"still here")
        await until(lambda taken=taken: taken.messages == [b"still here"])  # type: ignore[misc]


async def test_a_file_in_the_way_is_not_removed(context: Sockets, folder: Path) -> None:
    (folder / "in").write_text("mine")
    with pytest.raises(ConfigurationError, match="no socket"):
        context.inbox(f"ipc://{folder}/in", Taken())
    assert (folder / "in").read_text() == "mine"


async def test_what_a_killed_process_left_is_in_nobodys_way(context: Sockets, folder: Path) -> None:
    with posix.socket(posix.AF_UNIX) as dead:
        dead.bind(str(folder / "in"))
    taken = Taken()
    inbox = context.inbox(f"ipc://{folder}/in", taken)
    context.outbox(inbox.address).send(b"hello")
    await until(lambda: taken.messages == [b"hello"])


async def test_closing_twice_and_sending_afterwards_is_harmless(context: Sockets, folder: Path) -> None:
    inbox = context.inbox(f"ipc://{folder}/in", Taken())
    outbox = context.outbox(inbox.address)
    for _ in range(2):
        outbox.close()
        inbox.close()
    assert not outbox.send(b"late")
    assert outbox.dropped == 1
    await asyncio.sleep(0)


async def test_an_address_that_cannot_be_connected_is_told(context: Sockets) -> None:
    with pytest.raises(ConfigurationError, match="cannot connect"):
        context.outbox("carrier-pigeon://roof")


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("ipc:///run/x", "/run/x"),
        ("ipc://x", "x"),
        ("ipc://@abstract", None),
        ("ipc://*", None),
        ("tcp://1.2.3.4:5", None),
    ],
)
def test_only_ipc_addresses_have_a_file(address: str, path: str | None) -> None:
    assert ipc_path(address) == (Path(path) if path else None)
