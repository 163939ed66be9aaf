"""Decodes one answer after the other, for models that cannot be decoded in batches: Mamba, linear attention."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import structlog

from bus.errors import EngineError
from services.llm.local.decoding import Asked

log = structlog.get_logger(__name__)


class Alone:
    """Others wait in order, as many as the service's capacity lets them."""

    def __init__(self, model: Any, ends: frozenset[int]) -> None:
        self._model = model
        self._ends = sorted(ends)
        self._turn = asyncio.Lock()
        self._stopped = False

    async def tokens(self, asked: Asked) -> AsyncGenerator[list[int], None]:
        """Yield the answer's tokens (see `Decoder.tokens`).

        Raises:
            EngineError: the model fails, or the engine has stopped.
        """
        async with self._turn:
            if self._stopped:
                raise EngineError("the engine has stopped")
            loop = asyncio.get_running_loop()
            told: asyncio.Queue[list[int] | None] = asyncio.Queue()  # at most the tokens allowed
            enough = threading.Event()

            def tell(new: list[int] | None) -> None:
                with suppress(RuntimeError):  # the loop has closed
                    loop.call_soon_threadsafe(told.put_nowait, new)

            decoding = asyncio.create_task(asyncio.to_thread(self._decode, asked, tell, enough))
            try:
                while (new := await told.get()) is not None:
                    yield new
                await decoding
            finally:
                enough.set()
                await asyncio.wait({decoding})  # not more than a token

    async def stop(self) -> None:
        """Begin nothing more. Idempotent."""
        self._stopped = True

    def _decode(self, asked: Asked, tell: Any, enough: threading.Event) -> None:
        import torch

        prompt = torch.tensor([asked.prompt], device=self._model.device)
        sampling = {"do_sample": True, "temperature": asked.temperature} if asked.temperature else {"do_sample": False}
        try:
            self._model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=asked.tokens,
                eos_token_id=self._ends or None,
                pad_token_id=self._ends[0] if self._ends else 0,
                streamer=_Streamer(tell),
                stopping_criteria=[lambda *_, **__: torch.tensor([enough.is_set()], device=prompt.device)],
                **sampling,
            )
        except Exception as error:
            log.error("an answer failed", error=type(error).__name__)  # noqa: TRY400 - a trace may hold the prompt
            raise EngineError("the model failed at this answer") from error
        finally:
            tell(None)


class _Streamer:
    """What `generate` gives its tokens to: the prompt first."""

    def __init__(self, tell: Any) -> None:
        self._tell = tell
        self._prompt = True

    def put(self, value: Any) -> None:
        """Pass on the next tokens."""
        if not self._prompt:
            self._tell(value.flatten().tolist())
        self._prompt = False

    def end(self) -> None:
        """Do nothing: whoever decodes says when it is over."""
