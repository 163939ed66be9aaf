"""The socket mode as its clients see it, with services that answer every turn."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, Self

import pytest

import gateway.core.session
import gateway.listeners.tcp
from bus.errors import ConfigurationError
from gateway.listeners.tcp import TcpListener
from gateway.protocols.pcm import CLIENT_BLOCK_BYTES
from tests.gateway.suite import ANSWER_SAMPLES, SILENCE, Suite, suite, told, tone
from tests.support.bus import PATIENCE_S
from tests.support.waiting import until

ANSWER_BYTES = -(-ANSWER_SAMPLES * 2 // CLIENT_BLOCK_BYTES) * CLIENT_BLOCK_BYTES


@asynccontextmanager
async def listening(here: Suite, **flags: Any) -> AsyncIterator[TcpListener]:
    listener = TcpListener(here.link, told(**flags))
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


@pytest.fixture(autouse=True)
async def no_connection_stays() -> AsyncIterator[None]:
    yield
    while Half.all:
        await Half.all.pop().close()


@pytest.fixture
async def here() -> AsyncIterator[Suite]:
    async with suite() as here:
        yield here


@pytest.fixture
async def listener(here: Suite) -> AsyncIterator[TcpListener]:
    async with listening(here) as listener:
        yield listener


def address(where: str) -> tuple[str, int]:
    """Return the address in what a listener says of itself."""
    host, port = where.rsplit(maxsplit=1)[-1].rsplit(":", 1)
    return host, int(port)


class Half:
    """One of a client's two connections."""

    all: ClassVar[list["Half"]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.all.append(self)

    @classmethod
    async def connect(cls, where: str) -> Self:
        """Connect to what a listener says of itself."""
        host, port = address(where)
        return cls(*await asyncio.open_connection(host, port))

    async def read(self, length: int) -> bytes:
        """Read so many bytes."""
        return await asyncio.wait_for(self.reader.readexactly(length), PATIENCE_S)

    async def is_closed(self) -> bytes:
        """Wait for a clean end; return what came before it."""
        return await asyncio.wait_for(self.reader.read(), PATIENCE_S)

    def reset(self) -> None:
        """Close with a reset."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def close(self) -> None:
        """Close and wait for it."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


class Client:
    """A stock client: speaks on one connection, listens on the other."""

    def __init__(self, speaking: Half, listening: Half) -> None:
        self.speaking = speaking
        self.listening = listening

    @classmethod
    async def connect(cls, listener: TcpListener, *, speaks_first: bool = True) -> Self:
        """Make both connections, one after the other."""
        if speaks_first:
            speaking = await Half.connect(listener.receiving_on)
            return cls(speaking, await Half.connect(listener.sending_on))
        listening = await Half.connect(listener.sending_on)
        return cls(await Half.connect(listener.receiving_on), listening)

    def says(self, sample: int) -> None:
        """Speak a turn."""
        self.speaking.writer.write(tone(sample) + SILENCE)

    async def hears(self) -> bytes:
        """Return one answer with its padding."""
        return await self.listening.read(ANSWER_BYTES)

    async def close(self) -> None:
        """Leave."""
        await self.speaking.close()
        await self.listening.close()


def answer(sample: int) -> bytes:
    """Return the answer to a turn of *sample*, padded to a full block."""
    return tone(sample, ANSWER_SAMPLES).ljust(ANSWER_BYTES, b"\0")


async def all_have_gone(here: Suite, listener: TcpListener) -> None:
    """Wait until no client is left, and look whether anything else is."""
    await until(lambda: here.link.sessions == 0)
    assert not any(replica.places for replica in here.link.registry.all())
    await until(lambda: not listener._tasks)


# -- conversations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speaks_first", [True, False])
async def test_a_client_is_answered_in_full_blocks(listener: TcpListener, *, speaks_first: bool) -> None:
    client = await Client.connect(listener, speaks_first=speaks_first)
    for sample in (7, 8):
        client.says(sample)
        assert await client.hears() == answer(sample)
    await client.close()


async def test_every_client_hears_its_own_answer(listener: TcpListener) -> None:
    clients = [await Client.connect(listener) for _ in range(8)]
    for number, client in enumerate(clients, start=1):
        client.says(number)
    for number, client in enumerate(clients, start=1):
        assert await client.hears() == answer(number)
    for client in clients:
        await client.close()


@pytest.mark.parametrize("size", [1, 3, 1023, 5000])
async def test_chunks_of_any_size_are_understood(listener: TcpListener, size: int) -> None:
    client = await Client.connect(listener)
    client.speaking.writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    said = tone(0x0107, 2048) + bytes(4096)
    for start in range(0, len(said), size):
        client.speaking.writer.write(said[start : start + size])
        if start % 64 == 0:
            await asyncio.sleep(0)
    assert await client.hears() == answer(0x0107)
    await client.close()


async def test_a_client_that_ends_its_input_is_answered_before_we_close(listener: TcpListener) -> None:
    client = await Client.connect(listener)
    client.speaking.writer.write(tone(9))  # no silence after it
    client.speaking.writer.write_eof()
    assert await client.listening.is_closed() == answer(9)
    assert await client.speaking.is_closed() == b""


async def test_a_client_that_says_nothing_and_ends_its_input_is_closed(listener: TcpListener) -> None:
    client = await Client.connect(listener)
    client.speaking.writer.write(b"\0")
    client.speaking.writer.write_eof()
    assert await client.listening.is_closed() == b""


async def test_speaking_over_an_answer_ends_it_and_the_next_begins_on_a_block(here: Suite) -> None:
    here.answer_samples = 160_000
    async with listening(here, lead_ms=100) as listener:
        client = await Client.connect(listener)
        client.says(7)
        heard = await client.listening.read(CLIENT_BLOCK_BYTES)
        here.answer_samples = ANSWER_SAMPLES
        client.says(8)
        while not heard.endswith(tone(8, 1)):
            heard += await client.listening.read(CLIENT_BLOCK_BYTES)
        before = heard.index(tone(8, 1))
        assert before % CLIENT_BLOCK_BYTES == 0
        assert before < 160_000  # of 320 000 bytes
        assert set(heard[:before]) <= {0, 7}
        await client.close()


# -- two connections that have to find each other ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["speaks", "listens"])
async def test_a_connection_whose_other_half_does_not_come_is_closed(
    here: Suite, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(gateway.listeners.tcp, "ORPHAN_S", 0.05)
    async with listening(here) as listener:
        orphan = await Half.connect(listener.receiving_on if kind == "speaks" else listener.sending_on)
        assert await orphan.is_closed() == b""
        await orphan.close()
        await all_have_gone(here, listener)


@pytest.mark.parametrize("kind", ["speaks", "listens"])
async def test_halves_beyond_the_limit_are_closed_at_once_and_those_before_are_served(
    here: Suite, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(gateway.listeners.tcp, "HALVES", 2)
    async with listening(here) as listener:
        ours, other = listener.receiving_on, listener.sending_on
        if kind == "listens":
            ours, other = other, ours
        waiting = [await Half.connect(ours) for _ in range(2)]
        await until(lambda: len(listener._pairing) == 2)
        extra = await Half.connect(ours)
        with suppress(ConnectionError):
            assert await extra.is_closed() == b""
        partner = await Half.connect(other)
        await until(lambda: here.link.sessions == 1)
        for half in (*waiting, extra, partner):
            await half.close()


async def test_clients_to_connect_to_are_bounded_too(here: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.listeners.tcp, "HALVES", 2)
    async with listening(here, send_mode="connect", send_port=1) as listener:
        waiting = [await Half.connect(listener.receiving_on) for _ in range(2)]
        await until(lambda: listener._connecting == 2)
        extra = await Half.connect(listener.receiving_on)
        with suppress(ConnectionError):
            assert await extra.is_closed() == b""
    for half in waiting:
        assert await half.is_closed() == b""


class Gone:
    """A writer whose connection has ended: uvloop asks a socket that is closed."""

    def get_extra_info(self, _name: str) -> object:
        raise ValueError("negative file descriptor")


def test_of_a_connection_that_is_closed_already_nothing_is_known() -> None:
    """Its time to wait for the other half may end in the same moment as the client goes."""
    gone: Any = Gone()
    assert gateway.listeners.tcp._peer(gone) == ""
    gateway.listeners.tcp.stay_awake(gone)


async def test_a_client_whose_machine_vanishes_is_noticed(here: Suite, listener: TcpListener) -> None:
    speaking = await Half.connect(listener.receiving_on)
    await until(lambda: len(listener._pairing) == 1)
    (waiting,) = listener._pairing._waiting.values()
    sock = waiting.speaking[0][1].get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    listening = await Half.connect(listener.sending_on)
    await until(lambda: here.link.sessions == 1)
    await Client(speaking, listening).close()
    await until(lambda: here.link.sessions == 0)


@pytest.mark.parametrize("kind", ["speaks", "listens"])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_half_a_client_that_has_left_is_paired_with_nobody(listener: TcpListener, kind: str, how: str) -> None:
    half = await Half.connect(listener.receiving_on if kind == "speaks" else listener.sending_on)
    await until(lambda: listener._tasks)
    (streams,) = [
        streams
        for waiting in listener._pairing._waiting.values()
        for streams in (*waiting.speaking, *waiting.listening)
    ]
    half.reset() if how == "reset" else half.writer.close()
    await until(lambda: streams[0].at_eof() or streams[0].exception())
    client = await Client.connect(listener, speaks_first=kind == "listens")
    client.says(5)
    assert await client.hears() == answer(5)
    await client.close()


# -- where the answer goes --------------------------------------------------------------------------------------------


@asynccontextmanager
async def client_that_listens() -> AsyncIterator[tuple[int, "asyncio.Queue[Half]"]]:
    """Yield the port of a client that is connected to, and its connections."""
    arrived: asyncio.Queue[Half] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.put_nowait(Half(reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], arrived
    finally:
        server.close()


@pytest.mark.parametrize("mode", ["auto", "connect"])
async def test_a_client_that_listens_itself_is_connected_to(here: Suite, mode: str) -> None:
    async with client_that_listens() as (port, arrived), listening(here, send_port=port, send_mode=mode) as listener:
        assert listener.sending_on == f"connecting to 127.0.0.1:{port}"
        speaking = await Half.connect(listener.receiving_on)
        client = Client(speaking, await asyncio.wait_for(arrived.get(), PATIENCE_S))
        client.says(4)
        assert await client.hears() == answer(4)
        await client.close()


async def test_a_client_that_listens_a_little_later_is_tried_again(
    here: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.listeners.tcp, "RETRY_S", 0.001)
    tries = asyncio.Event()
    open_connection = asyncio.open_connection

    async def try_to_open(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not tries.is_set():
            tries.set()
            raise ConnectionRefusedError
        return await open_connection(host, port)

    async with (
        client_that_listens() as (port, arrived),
        listening(here, send_port=port, send_mode="connect") as listener,
    ):
        speaking = await Half.connect(listener.receiving_on)
        monkeypatch.setattr(asyncio, "open_connection", try_to_open)
        client = Client(speaking, await asyncio.wait_for(arrived.get(), PATIENCE_S))
        assert tries.is_set()
        client.says(4)
        assert await client.hears() == answer(4)
        await client.close()


async def test_a_client_that_cannot_be_reached_is_closed(here: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.listeners.tcp, "ORPHAN_S", 0.05)
    monkeypatch.setattr(gateway.listeners.tcp, "RETRY_S", 0.01)
    async with client_that_listens() as (port, _):
        pass  # nobody listens there any more
    async with listening(here, send_port=port, send_mode="connect") as listener:
        speaking = await Half.connect(listener.receiving_on)
        assert await speaking.is_closed() == b""
        await all_have_gone(here, listener)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"recv_port": "taken"}, "cannot listen on .*the port is taken.* --recv_host or --recv_port"),
        ({"send_port": "taken", "send_mode": "listen"}, "the port is taken.* --send_host or --send_port"),
        ({"recv_host": "no-such-host.invalid"}, "'no-such-host.invalid' is unknown; change --recv_host"),
        ({"send_host": "no-such-host.invalid"}, "'no-such-host.invalid' is unknown; change --send_host"),
        ({"recv_host": "192.0.2.1"}, "not an address of this machine.* --recv_host"),
        ({"send_host": "192.0.2.1", "send_mode": "listen"}, "not an address of this machine.* --send_host"),
    ],
    ids=str,
)
async def test_an_address_that_cannot_be_had_is_one_line_that_names_the_flag(
    here: Suite, flags: dict[str, Any], message: str
) -> None:
    async with client_that_listens() as (port, _):
        flags = {name: port if value == "taken" else value for name, value in flags.items()}
        with pytest.raises(ConfigurationError, match=message) as raised:
            async with listening(here, **flags):
                pass
        assert "\n" not in str(raised.value)


async def test_the_address_of_another_machine_is_connected_to(here: Suite) -> None:
    async with listening(here, send_host="192.0.2.1", send_port=12346) as listener:
        assert listener.sending_on == "connecting to 192.0.2.1:12346"


async def test_a_listener_that_could_not_start_holds_no_port(here: Suite) -> None:
    async with client_that_listens() as (port, _):
        free = socket.socket()
        free.bind(("127.0.0.1", 0))
        wanted = free.getsockname()[1]
        free.close()
        with pytest.raises(ConfigurationError):
            async with listening(here, recv_port=wanted, send_port=port, send_mode="listen"):
                pass
        async with listening(here, recv_port=wanted):
            pass


# -- bad clients ------------------------------------------------------------------------------------------------------


async def test_a_client_for_whom_there_is_no_room_is_closed_without_a_byte(here: Suite) -> None:
    async with listening(here, max_sessions=1) as listener:
        first = await Client.connect(listener)
        await until(lambda: here.link.sessions == 1)
        refused = await Client.connect(listener)
        assert await refused.speaking.is_closed() == b""
        assert await refused.listening.is_closed() == b""
        first.says(3)
        assert await first.hears() == answer(3)
        await first.close()
        await refused.close()


@pytest.mark.parametrize("half", ["speaking", "listening"])
async def test_a_reset_ends_this_session_and_no_other(here: Suite, listener: TcpListener, half: str) -> None:
    other, client = await Client.connect(listener), await Client.connect(listener)
    client.speaking.writer.write(tone(6)[:1001])
    await until(lambda: here.link.sessions == 2)
    getattr(client, half).reset()
    if half == "speaking":
        client.listening.writer.close()
    await until(lambda: here.link.sessions == 1)
    other.says(3)
    assert await other.hears() == answer(3)
    await other.close()


async def test_what_comes_on_the_connection_that_listens_is_nobodys(listener: TcpListener) -> None:
    client = await Client.connect(listener)
    client.listening.writer.write(tone(9) + SILENCE)
    client.says(2)
    assert await client.hears() == answer(2)
    await client.close()


async def test_a_client_that_never_reads_is_closed_and_others_do_not_notice(
    here: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.core.session, "NOT_READING_MS", 50)
    async with listening(here, lead_ms=10_000) as listener:
        host, port = address(listener.sending_on)
        speaking = await Half.connect(listener.receiving_on)
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        await asyncio.get_running_loop().sock_connect(deaf, (host, port))
        await until(lambda: here.link.sessions == 1)
        other = await Client.connect(listener)
        await until(lambda: here.link.sessions == 2)
        for _ in range(20):
            here.answer_samples = 80_000
            speaking.writer.write(tone(7) + SILENCE)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await until(lambda: here.link.sessions == 1)
                break
        here.answer_samples = ANSWER_SAMPLES
        await until(lambda: here.link.sessions == 1)
        other.says(3)
        assert await other.hears() == answer(3)
        deaf.close()
        await speaking.close()
        await other.close()


async def test_many_who_come_and_go_leave_nothing_behind(here: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.listeners.tcp, "ORPHAN_S", 0.2)
    async with listening(here) as listener:
        await until(lambda: len(asyncio.all_tasks()) == 1)
        for number in range(200):
            client = await Client.connect(listener, speaks_first=number % 2 == 0)
            match number % 4:
                case 0:
                    client.speaking.writer.write(tone(number + 1)[: number + 1])
                case 1:
                    client.says(number)
                case 2:
                    client.speaking.reset()
                    client.listening.reset()
                    continue
            await client.close()
        await all_have_gone(here, listener)
        await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_stopping_ends_every_session(here: Suite) -> None:
    async with listening(here) as listener:
        client = await Client.connect(listener)
        await until(lambda: here.link.sessions == 1)
    assert here.link.sessions == 0
    assert await client.listening.is_closed() == b""
    await client.close()
