"""The rounds of a loop with many clients."""

import asyncio
import time

import pytest

from gateway import rounds
from tests.gateway.clients import Clients


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the breaks that are taken, in seconds."""
    taken: list[float] = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


async def turn(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("sessions", "round_ms"), [(rounds.FEW, 5.0), (1000, 0.0)])
async def test_nothing_is_held_up_for_a_few_clients_or_where_it_is_not_wanted(
    breaks: list[float], sessions: int, round_ms: float
) -> None:
    keeping = asyncio.create_task(rounds.keep(Clients(sessions), round_ms))
    await turn(20)
    keeping.cancel()
    assert breaks == []


async def test_a_crowd_is_served_in_rounds_that_are_shorter_for_a_smaller_one(breaks: list[float]) -> None:
    clients = Clients(rounds.MANY)
    keeping = asyncio.create_task(rounds.keep(clients, 1000.0))
    await turn(4 * rounds.TURNS)
    assert len(breaks) >= 2
    assert all(0.5 < length <= 1 for length in breaks[1:])  # the first has begun long ago
    clients.sessions = (rounds.FEW + rounds.MANY) // 2
    await turn(rounds.TURNS)  # the break that was decided before
    breaks.clear()
    await turn(4 * rounds.TURNS)
    assert breaks
    assert all(0 < length <= 0.5 for length in breaks)
    clients.sessions = 0
    await turn(rounds.TURNS)
    breaks.clear()
    await turn(4 * rounds.TURNS)
    keeping.cancel()
    assert breaks == []
