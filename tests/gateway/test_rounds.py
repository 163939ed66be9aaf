"""The rounds of a loop with many clients."""

import asyncio

import pytest

from gateway import rounds
from tests.gateway.clients import Clients

ROUND_MS = 8.0


class Clock:
    """Time that passes when somebody rests, and by *work_s* whenever it is looked at."""

    def __init__(self, work_s: float) -> None:
        self._now_s = 100.0
        self._work_s = work_s
        self.rests: list[float] = []

    def now(self) -> float:
        """Return the time; work has been done since it was last asked for."""
        self._now_s += self._work_s
        return self._now_s

    def rest(self, seconds: float) -> None:
        """Let *seconds* pass."""
        self.rests.append(seconds)
        self._now_s += seconds


async def turn(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def rests_of(sessions: int, round_ms: float, work_s: float) -> list[float]:
    """Return the rests that are taken while the loop turns some times, in seconds."""
    clock = Clock(work_s)
    keeping = asyncio.create_task(rounds.keep(Clients(sessions), round_ms, clock.now, clock.rest))
    await turn(5 * rounds.TURNS)
    keeping.cancel()
    return clock.rests


@pytest.mark.parametrize(("sessions", "round_ms"), [(rounds.FEW, ROUND_MS), (1000, 0.0)])
async def test_nothing_is_held_up_for_a_few_clients_or_where_it_is_not_wanted(sessions: int, round_ms: float) -> None:
    assert await rests_of(sessions, round_ms, 0.0) == []


async def test_what_the_work_leaves_of_a_round_is_rested() -> None:
    rests = await rests_of(rounds.FEW + 1, ROUND_MS, 0.003)
    assert len(rests) >= 3
    assert rests == pytest.approx([0.005] * len(rests))


async def test_work_that_takes_longer_than_a_round_is_not_held_up() -> None:
    assert await rests_of(1000, ROUND_MS, 0.009) == []


async def test_rounds_end_when_the_crowd_has_gone() -> None:
    clock, clients = Clock(0.0), Clients(1000)
    keeping = asyncio.create_task(rounds.keep(clients, ROUND_MS, clock.now, clock.rest))
    await turn(2 * rounds.TURNS)
    clients.sessions = 0
    await turn(rounds.TURNS)
    before = len(clock.rests)
    assert before
    await turn(5 * rounds.TURNS)
    keeping.cancel()
    assert len(clock.rests) == before
