"""Decodes the answers of all sessions in one batch: transformers' continuous batching, made to survive a failed step.

An answer joins the batch at any step and leaves it at any step. The cache of keys and values is cut into pages; those
of a beginning that two prompts share, as a conversation and its next turn do, are computed once, as long as they have
not been given to others.

The library gives up all answers and its thread when a step fails. They go on here, with what they have as their prompt:
the library's loop is started anew, and each comes back alone and has to get a token before the next is let in. The one
at which the step fails again is the guilty one; it fails, the others go on.
"""

import asyncio
import copy
import math
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import structlog

from bus.errors import EngineError
from services.llm.local.decoding import GREEDY, Asked

log = structlog.get_logger(__name__)

# Tokens in a page: what is shared of a prompt is a multiple of it. Attention on a GPU wants the larger.
CPU_PAGE: Final = 32
GPU_PAGE: Final = 256
# Tokens of one step. A long prompt is taken in pieces of it, and delays the answers of others no longer than that.
STEP_TOKENS: Final = 512
# An answer that has seen so many failed steps is given up, whoever was guilty of them.
FAILURES_AT_MOST: Final = 3
# How long `stop` waits for the step in progress.
PATIENCE_S: Final = 5.0


@dataclass(eq=False, slots=True)
class _Run:
    """One answer on its way."""

    asked: Asked
    produced: list[int] = field(default_factory=list)
    failures: int = 0
    # What the library tells, at most one entry for each token allowed and one for a failure.
    told: "asyncio.Queue[list[int] | None]" = field(default_factory=asyncio.Queue)


class Batches:
    """Decodes at most *batch_size* answers at a time, more wait in order; their cache holds *cache_tokens*.

    How many wait is bounded by the service's capacity. An answer that does not fit into the cache beside others is put
    back, and computed again when there is room.
    """

    def __init__(self, model: Any, ends: frozenset[int], *, batch_size: int, cache_tokens: int) -> None:
        self._model = model
        self._ends = sorted(ends) or [-1]
        self._batch_size = batch_size
        self._cache_tokens = cache_tokens
        self._library: Any = None
        self._starting = asyncio.Lock()
        self._probation = asyncio.Lock()
        self._suspect: _Run | None = None
        self._suspects = 0
        self._ids = count()
        self._stopped = False

    async def tokens(self, asked: Asked) -> AsyncGenerator[list[int], None]:
        """Yield the answer's tokens (see `Decoder.tokens`).

        Raises:
            EngineError: its step fails, and fails alone; or the engine has stopped.
        """
        run = _Run(asked)
        while True:
            try:
                async for new in self._attempt(run):
                    run.produced += new
                    yield new
            except _StepFailed as failed:
                run.failures += 1
                if failed.guilty or run.failures > FAILURES_AT_MOST or self._stopped:
                    raise EngineError("the model failed at this answer") from None
            else:
                return

    async def stop(self) -> None:
        """End the library's thread after its step. Idempotent."""
        self._stopped = True
        async with self._starting:
            await self._end()

    async def _attempt(self, run: _Run) -> AsyncGenerator[list[int], None]:
        """Yield what follows *run*'s tokens so far.

        Raises:
            _StepFailed: the library gave it up.
        """
        async with AsyncExitStack() as alone:
            if run.failures or self._suspects:
                await self._enter(run, alone)
            library = await self._running()
            name = f"{next(self._ids)}"
            run.told = asyncio.Queue()
            self._add(library, name, run)
            left = run.asked.tokens - len(run.produced)
            try:
                while left > 0:
                    new = await run.told.get()
                    if new is None:
                        guilty = self._suspect is run
                        await self._has_failed(library)
                        raise _StepFailed(guilty=guilty)
                    await alone.aclose()
                    left -= len(new)
                    yield new
                    if new[-1] in self._ends:
                        return
            finally:
                library.output_router.result_handlers.pop(name, None)  # those of cancelled ones stay there else
                library.cancel_request(name)

    async def _enter(self, run: _Run, alone: AsyncExitStack) -> None:
        """Wait until *run* is the only one that is new in the batch, until *alone* is closed."""
        self._suspects += 1

        def leave() -> None:
            self._suspects -= 1
            if self._suspect is run:
                self._suspect = None

        alone.callback(leave)
        await alone.enter_async_context(self._probation)
        self._suspect = run

    def _add(self, library: Any, name: str, run: _Run) -> None:
        seen = 0

        def hear(output: Any) -> None:
            nonlocal seen
            if output.error is not None:
                run.told.put_nowait(None)
            elif len(output.generated_tokens) > seen:
                run.told.put_nowait(list(output.generated_tokens[seen:]))
                seen = len(output.generated_tokens)

        library.register_result_handler(name, hear)
        added = library.add_request(
            [*run.asked.prompt, *run.produced],
            request_id=name,
            max_new_tokens=run.asked.tokens - len(run.produced),
            streaming=True,
            eos_token_id=self._ends,
            temperature=run.asked.temperature or GREEDY,
        )
        if added is None:  # its thread has just died, and nobody has heard of it yet
            run.told.put_nowait(None)

    async def _running(self) -> Any:
        async with self._starting:
            if self._stopped:
                raise EngineError("the engine has stopped")
            if self._library is None:
                self._library = await asyncio.to_thread(self._start)
            return self._library

    async def _has_failed(self, library: Any) -> None:
        """Let go of *library*, whose thread ends; the next answer starts another."""
        async with self._starting:
            if self._library is library:
                error = library.background_thread_status.fatal_error
                log.error("a step failed", error=f"{type(error).__name__}: {error}".partition("\n")[0])
                await self._end()

    async def _end(self) -> None:
        library, self._library = self._library, None
        if library is not None:
            with suppress(Exception):  # what is left of it does not matter
                await asyncio.to_thread(library.stop, timeout=PATIENCE_S, hard_stop=True)

    def _start(self) -> Any:
        from transformers.generation import ContinuousBatchingConfig

        page = CPU_PAGE if self._model.device.type == "cpu" else GPU_PAGE
        library = self._model.init_continuous_batching(
            generation_config=self._generation(),
            continuous_batching_config=ContinuousBatchingConfig(
                page_size=page,
                num_blocks=math.ceil(self._cache_tokens / page),
                max_batch_tokens=max(STEP_TOKENS, self._batch_size),
                max_requests_per_batch=self._batch_size,
                per_request_processors=True,
                use_async_batching=False,  # it computes a token more after a cancel
            ),
        )
        library.start()
        return library

    def _generation(self) -> Any:
        """Return the model's own settings for sampling; each answer has its temperature."""
        generation = copy.deepcopy(self._model.generation_config)
        generation.do_sample = True
        generation.temperature = 0.5  # 1 would mean: no answer has another
        generation.eos_token_id = self._ends
        return generation


class _StepFailed(Exception):  # noqa: N818 - it never leaves this module
    """A step failed. *guilty*: while the answer was on probation."""

    def __init__(self, *, guilty: bool) -> None:
        super().__init__()
        self.guilty = guilty
