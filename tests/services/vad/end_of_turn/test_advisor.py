"""Asking a model that takes its time, fails, or is asked by too many."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import pytest

from bus.errors import ConfigurationError, EngineError
from services.vad.end_of_turn import advisor as module
from services.vad.end_of_turn.advisor import Advisor
from services.vad.end_of_turn.engines import scripted
from services.vad.engine import Floats
from services.vad.settings import EndOfTurnSettings
from tests.support.bus import PATIENCE_S

Answer = tuple[str, int, float | None]


def turn(value: float) -> bytes:
    """Return the audio of a turn that `Gated` judges to be complete with the probability *value*."""
    return np.full(100, value * 32768, "<i2").tobytes()


class Gated:
    """Answers with the first sample, once `opened`. Fails with more than *most* turns, or a negative sample."""

    name, model = "gated", "one"

    def __init__(self, most: int = 1000) -> None:
        self.opened = threading.Event()
        self.batches: list[int] = []
        self._most = most

    def load(self) -> None:
        pass

    def judge(self, turns: Sequence[Floats]) -> list[float]:
        assert self.opened.wait(PATIENCE_S)
        self.batches.append(len(turns))
        if len(turns) > self._most or min(float(each[0]) for each in turns) < 0:
            raise EngineError("out of memory")
        return [float(each[0]) for each in turns]


class Asked:
    """An advisor, and what it answered."""

    def __init__(self, model: Gated) -> None:
        self.model = model
        self.answers: list[Answer] = []
        self._arrived = asyncio.Event()
        self.advisor: Advisor[str] = Advisor(model, self._answer)

    def _answer(self, asker: str, at: int, probability: float | None) -> None:
        self.answers.append((asker, at, probability))
        self._arrived.set()

    async def wait_for(self, count: int) -> list[Answer]:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.answers) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.answers

    async def until_busy(self) -> None:
        """Let the loop hand the first questions to the thread, which waits to be opened."""
        self.advisor.ask("first", 0, turn(0.5))
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture
async def asked() -> AsyncIterator[Callable[..., Asked]]:
    made: list[Asked] = []

    def make(**told: int) -> Asked:
        made.append(Asked(Gated(**told)))
        made[-1].advisor._loop = asyncio.get_running_loop()
        return made[-1]

    yield make
    for each in made:
        each.model.opened.set()
        each.advisor.stop()


async def test_who_pauses_together_is_judged_together(asked: Callable[..., Asked]) -> None:
    here = asked()
    here.model.opened.set()
    for name, value in (("a", 0.25), ("b", 0.75)):
        here.advisor.ask(name, 7, turn(value))
    assert await here.wait_for(2) == [("a", 7, 0.25), ("b", 7, 0.75)]
    assert here.model.batches == [2]


async def test_the_newest_question_wins(asked: Callable[..., Asked]) -> None:
    here = asked()
    await here.until_busy()
    here.advisor.ask("a", 1, turn(0.25))
    here.advisor.ask("b", 2, turn(0.5))
    here.advisor.ask("a", 3, turn(0.75))
    here.model.opened.set()
    assert await here.wait_for(3) == [("first", 0, 0.5), ("b", 2, 0.5), ("a", 3, 0.75)]


async def test_who_is_forgotten_is_not_judged(asked: Callable[..., Asked]) -> None:
    here = asked()
    await here.until_busy()
    here.advisor.ask("gone", 1, turn(0.25))
    here.advisor.ask("here", 2, turn(0.25))
    here.advisor.forget("gone")
    here.model.opened.set()
    assert (await here.wait_for(2))[1:] == [("here", 2, 0.25)]


async def test_a_batch_is_bounded(asked: Callable[..., Asked]) -> None:
    here = asked()
    await here.until_busy()
    for number in range(module.MOST_TOGETHER + 1):
        here.advisor.ask(f"s{number}", number, turn(0.5))
    here.model.opened.set()
    await here.wait_for(module.MOST_TOGETHER + 2)
    assert here.model.batches == [1, module.MOST_TOGETHER, 1]


async def test_of_too_many_questions_the_oldest_gets_no_advice(asked: Callable[..., Asked]) -> None:
    here = asked()
    await here.until_busy()
    for number in range(module.MOST_WAITING + 1):
        here.advisor.ask(f"s{number}", number, turn(0.5))
    assert await here.wait_for(1) == [("s0", 0, None)]


async def test_a_batch_that_fails_is_split_and_only_the_guilty_get_no_advice(asked: Callable[..., Asked]) -> None:
    here = asked()
    here.model.opened.set()
    for name, value in (("good", 0.5), ("bad", -0.5), ("fine", 0.25)):
        here.advisor.ask(name, 1, turn(value))
    assert await here.wait_for(3) == [("good", 1, 0.5), ("bad", 1, None), ("fine", 1, 0.25)]


async def test_a_model_with_little_memory_judges_one_after_another(asked: Callable[..., Asked]) -> None:
    here = asked(most=1)
    here.model.opened.set()
    for name in ("a", "b"):
        here.advisor.ask(name, 1, turn(0.5))
    assert await here.wait_for(2) == [("a", 1, 0.5), ("b", 1, 0.5)]


@pytest.mark.parametrize("answers", [[], [0.5, 0.5], [float("nan")]], ids=["too few", "too many", "nan"])
async def test_what_is_no_probability_is_no_advice(
    asked: Callable[..., Asked], answers: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = asked()
    monkeypatch.setattr(here.model, "judge", lambda _: answers)
    here.advisor.ask("a", 1, turn(0.5))
    assert await here.wait_for(1) == [("a", 1, None)]


def test_a_script_is_told_in_order_and_its_last_word_for_ever() -> None:
    engine = scripted.Engine(EndOfTurnSettings(end_of_turn_script="0.1,0.9"))
    engine.load()
    silence = np.zeros(10, np.float32)
    assert engine.judge([silence]) == [0.1]
    assert engine.judge([silence, silence]) == [0.9, 0.9]


def test_a_script_of_anything_but_numbers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="end_of_turn_script"):
        scripted.Engine(EndOfTurnSettings(end_of_turn_script="often"))


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="none, scripted, smart-turn"):
        EndOfTurnSettings(end_of_turn="dumb-turn")
