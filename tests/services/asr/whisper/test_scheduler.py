"""Rounds on a thread, with a model that decodes when the test lets it, and says how long each window was."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from bus.errors import EngineError
from services.asr.whisper.guards import Decoded
from services.asr.whisper.rounds import Rounds
from services.asr.whisper.scheduler import Scheduler, Ticket
from services.asr.whisper.turn import Asked, Turn
from services.asr.whisper.window import LONGEST, Window
from tests.support.bus import PATIENCE_S
from tests.support.waiting import until


class Slow:
    """A model whose *permits* are the batches that it may decode; without a window of *guilty* samples in them."""

    def __init__(self, permits: int = 1000, guilty: int = -1) -> None:
        self.batches: list[list[int]] = []
        self.permits = threading.Semaphore(permits)
        self.guilty = guilty

    def decode(self, windows: Sequence[Window]) -> list[Decoded]:
        lengths = [len(window.samples) for window in windows]
        self.batches.append(lengths)
        assert self.permits.acquire(timeout=PATIENCE_S)
        if self.guilty in lengths:
            raise MemoryError
        return [Decoded(str(length), window.language, busy_s=0.5) for length, window in zip(lengths, windows)]  # noqa: B905

    @asynccontextmanager
    async def scheduled(self, batch: int = 8, gather_s: float = 0.0) -> AsyncIterator[Scheduler]:
        scheduler = Scheduler(self.decode, Rounds[Ticket](batch, batch), gather_s)
        try:
            yield scheduler
        finally:
            self.permits.release(1000)
            await scheduler.stop()


def window(samples: int, *, final: bool = True) -> Window:
    return Window(np.zeros(samples, np.float32), 3000, final=final)


async def turn(scheduler: Scheduler, samples: int) -> Turn:
    made = Turn(scheduler, Asked())
    await made.accept(bytes(2 * samples))
    return made


async def occupy(slow: Slow, scheduler: Scheduler) -> Ticket:
    """Let the thread be busy with a window of one sample."""
    ticket = scheduler.ask(window(1))
    await until(lambda: len(slow.batches) == 1)
    return ticket


async def test_what_comes_while_the_model_works_is_the_next_batch() -> None:
    slow = Slow(permits=0)
    async with slow.scheduled() as scheduler:
        tickets = [await occupy(slow, scheduler), *(scheduler.ask(window(n)) for n in (2, 3, 4))]
        slow.permits.release(2)
        assert [(await ticket.answer).text for ticket in tickets] == ["1", "2", "3", "4"]
    assert slow.batches == [[1], [2, 3, 4]]


async def test_what_comes_together_is_one_batch() -> None:
    slow = Slow()
    async with slow.scheduled(batch=3, gather_s=PATIENCE_S) as scheduler:  # full, it waits no longer
        tickets = [scheduler.ask(window(n)) for n in (2, 3, 4)]
        await asyncio.wait_for(asyncio.gather(*(ticket.answer for ticket in tickets)), PATIENCE_S / 2)
    assert slow.batches == [[2, 3, 4]]


async def test_a_final_overtakes_partials_and_drops_its_own() -> None:
    slow = Slow(permits=0)
    async with slow.scheduled() as scheduler:
        await occupy(slow, scheduler)
        one, other = await turn(scheduler, 20), await turn(scheduler, 30)
        partials = [asyncio.create_task(each.partial()) for each in (one, other)]
        await asyncio.sleep(0)
        final = asyncio.create_task(one.finish())
        await asyncio.sleep(0)
        slow.permits.release(3)
        assert (await final).text == "20"
        assert [await each for each in partials] == ["", "30"]
    assert slow.batches == [[1], [20], [30]]


async def test_of_several_partials_of_a_turn_the_newest_is_decoded_in_the_place_of_the_first() -> None:
    slow = Slow(permits=0)
    async with slow.scheduled() as scheduler:
        await occupy(slow, scheduler)
        one, other = await turn(scheduler, 20), await turn(scheduler, 30)
        partials = []
        for each in (one, other, one):
            partials.append(asyncio.create_task(each.partial()))
            await asyncio.sleep(0)
            await each.accept(bytes(20))
        slow.permits.release(2)
        assert [await each for each in partials] == ["30", "30", "30"]
    assert slow.batches == [[1], [30, 30]]


async def test_a_partial_that_is_being_decoded_is_not_asked_again() -> None:
    slow = Slow(permits=0)
    async with slow.scheduled() as scheduler:
        one = await turn(scheduler, 20)
        first = asyncio.create_task(one.partial())
        await until(lambda: len(slow.batches) == 1)
        second = asyncio.create_task(one.partial())
        await asyncio.sleep(0)
        first.cancel()
        slow.permits.release(1)
        assert await second == "20"
    assert slow.batches == [[20]]


async def test_the_guilty_window_of_a_batch_fails_alone() -> None:
    slow = Slow(permits=1, guilty=4)
    async with slow.scheduled() as scheduler:
        tickets = [scheduler.ask(window(n)) for n in (1, 2, 3, 4, 5)]
        slow.permits.release(1000)
        answers = await asyncio.gather(*(ticket.answer for ticket in tickets), return_exceptions=True)
        assert [each.text for each in answers if isinstance(each, Decoded)] == ["1", "2", "3", "5"]
        assert isinstance(answers[3], EngineError)
        assert (await scheduler.ask(window(6)).answer).text == "6"


async def test_a_cancelled_turn_leaves_the_queue_and_the_others_are_answered() -> None:
    slow = Slow(permits=0)
    async with slow.scheduled() as scheduler:
        await occupy(slow, scheduler)
        one, other = await turn(scheduler, 20), await turn(scheduler, 30)
        finals = [asyncio.create_task(each.finish()) for each in (one, other)]
        await asyncio.sleep(0)
        one.cancel()
        one.cancel()
        slow.permits.release(2)
        assert (await finals[1]).text == "30"
        with pytest.raises(EngineError):
            await finals[0]
        with pytest.raises(EngineError):
            await one.partial()
    assert slow.batches == [[1], [30]]


async def test_a_long_turn_is_decoded_in_order_and_others_between() -> None:
    slow = Slow(permits=0)
    async with slow.scheduled(batch=1) as scheduler:
        long, short = await turn(scheduler, 2 * LONGEST), await turn(scheduler, 30)
        finals = [asyncio.create_task(each.finish()) for each in (long, short)]
        await until(lambda: len(slow.batches) == 1)
        slow.permits.release(10)
        found = [await each for each in finals]
    windows = [length for (length,) in slow.batches]
    assert windows[1] == 30
    assert sum(windows) == 2 * LONGEST + 30
    assert all(length <= LONGEST for length in windows)
    assert found[0].text == " ".join(str(length) for length in windows if length != 30)
    assert found[0].busy_s == pytest.approx(0.5 * (len(windows) - 1))


async def test_a_window_that_a_partial_has_filled_is_not_decoded_again() -> None:
    slow = Slow()
    async with slow.scheduled() as scheduler:
        one = await turn(scheduler, LONGEST + 160_000)
        first = await one.partial()
        second = await one.partial()
        assert second.startswith(first + " ")
        assert (await one.finish()).text == second
    assert [lengths[0] for lengths in slow.batches] == [int(first), *[int(second.split()[1])] * 2]


async def test_what_waits_when_it_stops_fails_and_nothing_is_taken_afterwards() -> None:
    slow = Slow(permits=0)
    async with slow.scheduled() as scheduler:
        running = await occupy(slow, scheduler)
        waiting = scheduler.ask(window(2))
        stopping = asyncio.create_task(scheduler.stop())
        await asyncio.sleep(0)
        slow.permits.release(1)
        await stopping
        assert (await running.answer).text == "1"
        with pytest.raises(EngineError):
            await waiting.answer
        with pytest.raises(EngineError):
            scheduler.ask(window(3))
