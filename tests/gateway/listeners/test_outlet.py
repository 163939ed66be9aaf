"""What waits for one client: in order, bounded, and gone when the user speaks over it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.listeners.outlet import BACKLOG_BYTES, EVENTS_WAITING, Outlet


class Client:
    """Takes what an outlet writes, when it is told to."""

    def __init__(self) -> None:
        self.got: list[bytes | str] = []
        self.backlogs: list[float] = []
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.outlet = Outlet(self._write, self.backlogs.append)
        self.running = asyncio.create_task(self.outlet.run())

    async def settles(self) -> None:
        """Let the outlet do all it can."""
        for _ in range(200):
            await asyncio.sleep(0)

    async def _write(self, item: bytes | str) -> None:
        await self.may_read.wait()
        self.got.append(item)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = Client()
    yield client
    client.running.cancel()
    await asyncio.gather(client.running, return_exceptions=True)


async def test_audio_and_events_are_written_in_the_order_in_which_they_came(client: Client) -> None:
    items: list[bytes | str] = ["one", b"\1\1", b"\2\2", "two", b"\3\3"]
    for item in items:
        client.outlet.put(item)
    await client.settles()
    assert client.got == items
    assert client.backlogs == []


async def test_a_client_that_does_not_read_is_reported_once_and_once_more_when_it_has_read(client: Client) -> None:
    client.may_read.clear()
    for _ in range(40):
        client.outlet.put(bytes(1600))
    await client.settles()
    assert len(client.backlogs) == 1
    assert client.backlogs[0] * 32 > BACKLOG_BYTES
    client.may_read.set()
    await client.settles()
    assert client.backlogs[1:] == [0]
    assert len(client.got) == 40


async def test_audio_that_is_dropped_is_not_written_and_events_are(client: Client) -> None:
    client.may_read.clear()
    for item in (b"\1\1", "one", b"\2\2", "two", b"\3\3"):
        client.outlet.put(item)
    await client.settles()  # the first piece is in the hands of the transport
    assert client.outlet.drop_audio() == 4
    client.outlet.put(b"\4\4")
    client.may_read.set()
    await client.settles()
    assert client.got == [b"\1\1", "one", "two", b"\4\4"]


async def test_dropping_the_backlog_lets_audio_flow_again(client: Client) -> None:
    client.may_read.clear()
    client.outlet.put(b"\0\0")
    await client.settles()
    client.outlet.put(bytes(BACKLOG_BYTES + 2))
    client.outlet.drop_audio()
    assert client.backlogs[1:] == [0]


async def test_what_is_being_written_is_not_counted_against_what_comes_after_a_drop(client: Client) -> None:
    client.may_read.clear()
    client.outlet.put(bytes(BACKLOG_BYTES))
    await client.settles()
    client.outlet.drop_audio()
    client.outlet.put(bytes(BACKLOG_BYTES))
    client.outlet.put(bytes(2))
    assert len(client.backlogs) == 1
    client.may_read.set()
    await client.settles()
    assert client.backlogs[1:] == [0]


async def test_events_beyond_the_bound_are_dropped(client: Client) -> None:
    client.may_read.clear()
    for number in range(EVENTS_WAITING + 50):
        client.outlet.put(str(number))
    client.may_read.set()
    for _ in range(10):
        await client.settles()
    assert client.got == [str(number) for number in range(EVENTS_WAITING)]
    client.outlet.put("again")
    await client.settles()
    assert client.got[-1] == "again"


async def test_it_ends_when_everything_is_written(client: Client) -> None:
    client.may_read.clear()
    client.outlet.put(b"\1\1")
    client.outlet.end()
    await client.settles()
    assert not client.running.done()
    client.may_read.set()
    await client.running
    assert client.got == [b"\1\1"]


async def test_an_end_with_nothing_to_write_ends_at_once(client: Client) -> None:
    await client.settles()
    client.outlet.end()
    await client.running


async def test_what_the_transport_raises_ends_it() -> None:
    async def write(item: bytes | str) -> None:
        raise ConnectionResetError(str(item))

    backlogs: list[float] = []
    outlet = Outlet(write, backlogs.append)
    outlet.put("one")
    with pytest.raises(ConnectionResetError, match="one"):
        await outlet.run()
