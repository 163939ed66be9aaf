import asyncio
import gc
from collections.abc import Iterator

import pytest

from gateway import garbage
from tests.gateway.clients import Clients
from tests.support.waiting import until


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Return a list that grows with every collection; what the process does itself is as before afterwards."""
    done: list[int] = []
    monkeypatch.setattr(garbage, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(gc, "collect", lambda: done.append(len(done)))
    monkeypatch.setattr(gc, "freeze", lambda: None)
    before = gc.get_threshold()
    yield done
    gc.set_threshold(*before)


async def test_what_sessions_leave_is_collected_twice_when_all_have_gone(collected: list[int]) -> None:
    clients = Clients(sessions=1)
    collecting = asyncio.create_task(garbage.collect(clients))
    await asyncio.sleep(0.05)
    assert len(collected) == 1  # what starting left
    for times in (3, 5):
        clients.sessions = 0
        await until(lambda times=times: len(collected) == times)  # type: ignore[misc]
        await asyncio.sleep(0.05)
        assert len(collected) == times
        clients.sessions = 1
        await asyncio.sleep(0.05)
        assert len(collected) == times
    collecting.cancel()


async def test_while_somebody_is_there_the_newest_objects_may_be_many(collected: list[int]) -> None:
    collecting = asyncio.create_task(garbage.collect(Clients(sessions=1)))
    await until(lambda: collected)
    assert gc.get_threshold()[0] == garbage.NEWEST
    collecting.cancel()
