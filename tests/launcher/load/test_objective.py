"""When a step is good enough, when it counts, and the search for the knee."""

import pytest

from launcher.load.clock import LAG
from launcher.load.findings import Spread
from launcher.load.objective import FIRST_SESSIONS, Knee, Objective, search, void
from launcher.load.report import Step


def step(sessions: int = 10, p95_ms: float = 50.0, **counts: int) -> Step:
    counts = {"turns": 100, "answered": 100, **counts}
    return Step(sessions, 10.0, times={"latency": Spread.of([p95_ms])}, counts=counts)


def test_a_good_step_misses_nothing() -> None:
    assert Objective(100).missed(step(chunks=1000, late_chunks=1)) == []


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (step(p95_ms=101), "p95 101 ms > 100 ms"),
        (step(answered=98), "2 turns lost"),
        (step(turns_refused=3), "3 turns refused"),
        (step(chunks=1000, late_chunks=2), "0.20% of the pieces late"),
        (Step(1, 1.0), "nothing was answered"),
    ],
)
def test_what_is_missed_is_told(bad: Step, told: str) -> None:
    assert told in Objective(100).missed(bad)


def test_a_broken_promise_misses_the_objective() -> None:
    lied = step()
    lied.broken = {"promise": 2}
    assert Objective(100).missed(lied) == ["2 promises broken"]


def test_a_generator_that_is_late_itself_voids_the_step() -> None:
    late = step()
    late.times[LAG] = Spread.of([0.1] * 90 + [30.0] * 10)
    assert "30 ms late" in void(late)
    late.times[LAG] = Spread.of([0.1] * 999 + [300.0])
    assert void(late) == ""


async def searched(ramp: tuple[int, ...], most: int) -> tuple[Knee, list[int]]:
    tried: list[int] = []

    async def measure(sessions: int) -> Step:
        tried.append(sessions)
        return step(sessions, 50.0 if sessions <= most else 200.0)

    return await search(ramp, measure, Objective(100)), tried


async def test_a_ramp_ends_with_the_first_that_fails() -> None:
    knee, tried = await searched((10, 20, 30, 40), most=25)
    assert (knee.sessions, tried) == (20, [10, 20, 30])
    assert knee.why.startswith("30: p95")


async def test_a_ramp_that_never_fails_says_so() -> None:
    knee, _ = await searched((10, 20), most=100)
    assert knee.sessions == 20
    assert "more" in knee.why


async def test_without_a_ramp_the_search_doubles_and_closes_in() -> None:
    knee, tried = await searched((), most=77)
    assert tried[:5] == [FIRST_SESSIONS, 16, 32, 64, 128]
    assert 72 <= knee.sessions <= 77


async def test_not_even_the_first_may_do() -> None:
    knee, tried = await searched((), most=1)
    assert (knee.sessions, tried) == (0, [FIRST_SESSIONS])


async def test_a_void_step_ends_the_search_and_says_why() -> None:
    async def measure(sessions: int) -> Step:
        late = step(sessions)
        late.times[LAG] = Spread.of([50.0])
        return late

    knee = await search((10, 20), measure, Objective(100))
    assert knee.sessions == 0
    assert "generator" in knee.why
