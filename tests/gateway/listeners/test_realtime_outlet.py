"""What waits for a Realtime client: in order, bounded, and without the audio of what was cancelled."""

import asyncio

import pytest

from gateway.listeners import realtime_outlet
from gateway.listeners.realtime_outlet import RealtimeOutlet
from tests.support.waiting import until


class Client:
    """Takes what an outlet writes."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.full = 0
        self.outlet = RealtimeOutlet(self._write, self._is_full, lambda _: False)

    async def _write(self, frame: str) -> None:
        self.got.append(frame)

    def _is_full(self) -> None:
        self.full += 1

    async def all(self) -> list[str]:
        """Return everything that is written."""
        self.outlet.end()
        await asyncio.wait_for(self.outlet.run(), 5)
        return self.got


async def test_frames_are_written_in_order() -> None:
    client = Client()
    for number in range(5):
        client.outlet.put(str(number), "r" if number % 2 else None)
    assert await client.all() == ["0", "1", "2", "3", "4"]


async def test_only_the_audio_of_the_cancelled_response_is_dropped() -> None:
    client = Client()
    for frame, audio_of in (("a1", "a"), ("text", None), ("b1", "b"), ("a2", "a"), ("done", None)):
        client.outlet.put(frame, audio_of)
    client.outlet.drop_audio("a")
    assert await client.all() == ["text", "b1", "done"]


async def test_after_the_end_nothing_is_taken() -> None:
    client = Client()
    client.outlet.put("x")
    client.outlet.end()
    client.outlet.put("y")
    assert await client.all() == ["x"]


@pytest.mark.parametrize("bound", ["WAITING_BYTES", "WAITING_FRAMES"])
async def test_a_client_that_does_not_read_is_given_up_once(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(realtime_outlet, bound, 10)
    client = Client()
    for _ in range(30):
        client.outlet.put("x")
    assert client.full == 1
    assert len(await client.all()) == 11


async def test_what_goes_at_once_does_not_overtake_what_waits() -> None:
    got: list[str] = []
    gate = asyncio.Event()
    goes = True

    async def write(frame: str) -> None:
        await gate.wait()
        got.append(frame)

    def write_now(frame: str) -> bool:
        if goes:
            got.append(frame)
        return goes

    outlet = RealtimeOutlet(write, lambda: None, write_now)
    outlet.put("1")
    goes = False
    outlet.put("2")
    writing = asyncio.create_task(outlet.run())
    await asyncio.sleep(0)
    goes = True
    outlet.put("3")  # 2 is in the hands of the transport
    gate.set()
    await until(lambda: len(got) == 3)
    outlet.put("4")
    outlet.end()
    await asyncio.wait_for(writing, 5)
    assert got == ["1", "2", "3", "4"]
