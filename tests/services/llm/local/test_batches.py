"""Answers in one batch, with a small model."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from bus.errors import EngineError
from services.llm.local.alone import Alone
from services.llm.local.batches import Batches
from services.llm.local.decoding import Asked, Decoder, ends_of
from services.llm.local.loading import Loaded
from tests.support.waiting import until

BEGINNINGS = ("Once upon a time", "One day, a dog", "Lily and Tom went to", "The sun")
TOKENS = 24


class Steps:
    """Counts what the model computes; fails at steps that hold the token *guilty*, or those numbered in *broken*."""

    def __init__(self) -> None:
        self.steps = 0
        self.tokens = 0
        self.largest = 0
        self.guilty: int | None = None
        self.broken: set[int] = set()

    def __call__(self, _: Any, __: Any, given: dict[str, Any]) -> None:
        if "logits_indices" not in given:  # not in a batch
            return
        self.steps += 1
        self.tokens += given["input_ids"].numel()
        self.largest = max(self.largest, given["logits_indices"].numel())
        if self.steps in self.broken or (self.guilty is not None and bool((given["input_ids"] == self.guilty).any())):
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.fixture
def steps(stories: Loaded) -> Iterator[Steps]:
    steps = Steps()
    hook = stories.model.register_forward_pre_hook(steps, with_kwargs=True)
    yield steps
    hook.remove()


@pytest.fixture
async def batches(stories: Loaded) -> AsyncIterator[Batches]:
    ends = ends_of(stories.model, stories.tokenizer)
    batches = Batches(stories.model, ends, batch_size=8, cache_tokens=2048)
    yield batches
    await batches.stop()


def asked(stories: Loaded, text: str, tokens: int = TOKENS, temperature: float = 0.0) -> Asked:
    return Asked(tuple(stories.tokenizer.encode(text)), tokens, temperature)


def alone_tokens(stories: Loaded, text: str, tokens: int = TOKENS) -> list[int]:
    """Return what the library's plain generation gives."""
    import torch

    prompt = stories.tokenizer.encode(text)
    found = stories.model.generate(torch.tensor([prompt]), max_new_tokens=tokens, do_sample=False, pad_token_id=0)
    continued: list[int] = found[0][len(prompt) :].tolist()
    return continued


async def whole(decoder: Decoder, asked: Asked) -> list[int]:
    async with aclosing(decoder.tokens(asked)) as tokens:
        return [token async for new in tokens for token in new]


async def test_a_batch_gives_what_each_gives_alone(stories: Loaded, batches: Batches, steps: Steps) -> None:
    expected = [alone_tokens(stories, text) for text in BEGINNINGS]
    found = await asyncio.gather(*(whole(batches, asked(stories, text)) for text in BEGINNINGS))
    assert found == expected
    assert steps.largest > 1


async def test_tokens_come_one_by_one(stories: Loaded, batches: Batches) -> None:
    async with aclosing(batches.tokens(asked(stories, BEGINNINGS[0]))) as tokens:
        assert [len(new) async for new in tokens] == [1] * TOKENS


async def test_an_answer_ends_with_its_end(stories: Loaded) -> None:
    first = alone_tokens(stories, BEGINNINGS[0])
    batches = Batches(stories.model, frozenset({first[5]}), batch_size=8, cache_tokens=2048)
    found = await whole(batches, asked(stories, BEGINNINGS[0]))
    await batches.stop()
    assert found == first[: first.index(first[5]) + 1]


async def test_after_a_cancel_no_more_than_one_token_is_computed(
    stories: Loaded, batches: Batches, steps: Steps
) -> None:
    async with aclosing(batches.tokens(asked(stories, BEGINNINGS[0], tokens=400))) as tokens:
        for _ in range(3):
            await anext(tokens)
    cancelled_at = steps.steps
    await until(lambda: not batches._library.batch_processor.scheduler.active_requests)
    assert steps.steps <= cancelled_at + 1
    assert batches._library.output_router.result_handlers == {}
    assert await whole(batches, asked(stories, BEGINNINGS[1])) == alone_tokens(stories, BEGINNINGS[1])


async def test_the_beginning_of_the_next_turn_is_not_computed_again(
    stories: Loaded, batches: Batches, steps: Steps
) -> None:
    first = asked(stories, " ".join(BEGINNINGS * 4))
    answer = await whole(batches, first)
    before = steps.tokens
    more = stories.tokenizer.encode(" And then", add_special_tokens=False)
    await whole(batches, Asked((*first.prompt, *answer, *more), 1, 0.0))
    assert steps.tokens - before < 32 + len(more) + TOKENS < len(first.prompt)


async def test_temperature_is_the_answers_own(stories: Loaded, batches: Batches) -> None:
    cold, hot = await asyncio.gather(
        whole(batches, asked(stories, BEGINNINGS[0])),
        whole(batches, asked(stories, BEGINNINGS[0], temperature=50.0)),
    )
    assert cold == alone_tokens(stories, BEGINNINGS[0])
    assert hot != cold


async def test_the_guilty_answer_of_a_batch_fails_alone(stories: Loaded, batches: Batches, steps: Steps) -> None:
    steps.guilty = 500
    guilty = Asked((*asked(stories, "The").prompt, steps.guilty), TOKENS, 0.0)
    running = [asyncio.create_task(whole(batches, asked(stories, text))) for text in BEGINNINGS[:2]]
    await until(lambda: steps.steps > 3)
    bad, *good = await asyncio.gather(
        whole(batches, guilty),
        *(whole(batches, asked(stories, text)) for text in BEGINNINGS[2:]),
        return_exceptions=True,
    )
    assert isinstance(bad, EngineError)
    steps.guilty = None
    assert [*(await asyncio.gather(*running)), *good] == [alone_tokens(stories, text) for text in BEGINNINGS]
    assert await whole(batches, asked(stories, BEGINNINGS[0])) == alone_tokens(stories, BEGINNINGS[0])


async def test_a_step_that_fails_once_costs_nobody_the_answer(stories: Loaded, batches: Batches, steps: Steps) -> None:
    steps.broken = {6}
    found = await asyncio.gather(*(whole(batches, asked(stories, text)) for text in BEGINNINGS))
    assert found == [alone_tokens(stories, text) for text in BEGINNINGS]


async def test_a_model_that_always_fails_fails_the_answer_and_not_the_engine(
    stories: Loaded, batches: Batches, steps: Steps
) -> None:
    steps.broken = set(range(1, 100))
    with pytest.raises(EngineError):
        await whole(batches, asked(stories, BEGINNINGS[0]))
    steps.broken = set()
    assert await whole(batches, asked(stories, BEGINNINGS[0])) == alone_tokens(stories, BEGINNINGS[0])


async def test_answers_that_do_not_fit_the_cache_together_wait_for_room(stories: Loaded) -> None:
    batches = Batches(stories.model, frozenset({2}), batch_size=8, cache_tokens=256)
    found = await asyncio.gather(*(whole(batches, asked(stories, text, 60)) for text in BEGINNINGS * 2))
    await batches.stop()
    assert found == [alone_tokens(stories, text, 60) for text in BEGINNINGS * 2]


async def test_a_stopped_engine_fails_what_is_open(stories: Loaded, batches: Batches) -> None:
    tokens = batches.tokens(asked(stories, BEGINNINGS[0], tokens=400))
    await anext(tokens)
    await batches.stop()
    await batches.stop()
    with pytest.raises(EngineError):
        _ = [new async for new in tokens]
    with pytest.raises(EngineError):
        await whole(batches, asked(stories, BEGINNINGS[0]))


async def test_alone_gives_the_same_and_stops_at_a_cancel(stories: Loaded) -> None:
    decoder = Alone(stories.model, ends_of(stories.model, stories.tokenizer))
    found = await asyncio.gather(*(whole(decoder, asked(stories, text)) for text in BEGINNINGS))
    assert found == [alone_tokens(stories, text) for text in BEGINNINGS]
    computed = 0

    def count(*_: Any) -> None:
        nonlocal computed
        computed += 1

    hook = stories.model.register_forward_pre_hook(count)
    async with aclosing(decoder.tokens(asked(stories, BEGINNINGS[0], tokens=400))) as tokens:
        for _ in range(3):
            await anext(tokens)
        cancelled_at = computed
    hook.remove()
    assert computed <= cancelled_at + 1
    assert await whole(decoder, asked(stories, BEGINNINGS[1], temperature=1.0))
    await decoder.stop()
    with pytest.raises(EngineError):
        await whole(decoder, asked(stories, BEGINNINGS[0]))


async def test_alone_a_failure_is_the_answers_own(stories: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Alone(stories.model, frozenset({2}))
    with monkeypatch.context() as patched:
        patched.setattr(stories.model, "generate", lambda *_, **__: 1 / 0)
        with pytest.raises(EngineError, match="the model failed"):
            await whole(decoder, asked(stories, BEGINNINGS[0]))
    assert await whole(decoder, asked(stories, BEGINNINGS[0])) == alone_tokens(stories, BEGINNINGS[0])
