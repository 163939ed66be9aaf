"""A language model in this process: any that transformers' AutoModelForCausalLM loads, from a folder or the hub.

The answers of all sessions are decoded in one batch where the model allows it, else one after the other. The model's
own chat template writes the conversation, its tools too; thoughts are not spoken.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import structlog
from pydantic import BaseModel, Field, field_validator

from bus.errors import ConfigurationError, EngineError
from services.llm.engine import Abilities, Mode, Piece, Request
from services.llm.local.alone import Alone
from services.llm.local.answer import Answer
from services.llm.local.batches import Batches
from services.llm.local.decoding import Asked, Decoder, ends_of
from services.llm.local.loading import Loaded, load
from services.llm.local.prompt import PLAIN_STOPS, Writer
from services.pretrained import Source

log = structlog.get_logger(__name__)

# What a model is tried with: enough to use its cache.
TRIAL_TOKENS = 3


class Settings(BaseModel):
    """What the transformers engine can be told."""

    model: str = Field("Qwen/Qwen3-0.6B", min_length=1, description="a name on the hub, or a folder")
    download_root: str = Field("", description="folder for downloads; default: the hub's own cache")
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1 or mps")
    dtype: str = Field(
        "auto", pattern="^(auto|float32|float16|bfloat16)$", description="of the weights; auto: as they are stored"
    )
    cpu_threads: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, description="default: one for each core"
    )
    batch_size: int = Field(16, ge=1, le=1024, description="answers decoded together at most; more wait")
    cache_tokens: int = Field(32_768, ge=256, description="what the keys and values of all answers together may be")
    context_tokens: int = Field(
        8192, ge=64, description="conversation and answer at most; the model's own bound holds too"
    )
    max_output_tokens: int = Field(1024, ge=1, description="where a request names none")
    temperature: float | None = Field(None, ge=0, description="where a request names none; default: the model's own")
    template_options: str = Field("{}", description='JSON object for the chat template, as {"enable_thinking": false}')

    @field_validator("template_options")
    @classmethod
    def _json_object(cls, value: str) -> str:
        try:
            if isinstance(json.loads(value), dict):
                return value
        except json.JSONDecodeError:
            pass
        raise ValueError("must be a JSON object")


class Engine:
    """One model for all sessions."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tokenizer: Any = None
        self._ends: frozenset[int] = frozenset()
        self._temperature = 0.0
        self._writer: Writer | None = None
        self._decoder: Decoder | None = None

    async def load(self) -> Abilities:
        """Load the model and try it.

        Raises:
            ConfigurationError: a package or the model is missing or cannot run here (see `services.pretrained`).
        """
        told = self._settings
        loaded = await load(Source(told.model, told.device, told.dtype, told.cpu_threads, told.download_root))
        self._tokenizer = loaded.tokenizer
        self._ends = ends_of(loaded.model, loaded.tokenizer)
        self._temperature = _temperature(loaded.model, told.temperature)
        self._writer = Writer(loaded.tokenizer, _context(loaded.model, told), json.loads(told.template_options))
        self._decoder = await self._tried(loaded)
        return Abilities(model=told.model, tools=self._writer.tools)

    async def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        """Stream the model's answer to *request*.

        Raises:
            InvalidRequestError: the conversation does not fit, or the chat template cannot write it.
            EngineError: the model failed, wrote a tool call that cannot be read, or is not loaded.
        """
        if self._writer is None or self._decoder is None:
            raise EngineError("the engine is not loaded")
        wanted = request.max_output_tokens or self._settings.max_output_tokens
        prompt = await asyncio.to_thread(self._writer.write, request, wanted)
        allowed = min(wanted, self._writer.room_behind(prompt))
        tools = request.tools if self._writer.tools and request.tool_choice is not Mode.NONE else ()
        answer = Answer(
            self._tokenizer,
            self._ends,
            allowed,
            thinking=prompt.thinking,
            tools=tools,
            stops=PLAIN_STOPS if self._writer.plain else (),
        )
        temperature = self._temperature if request.temperature is None else request.temperature
        async with aclosing(self._decoder.tokens(Asked(prompt.tokens, allowed, temperature))) as tokens:
            async for new in tokens:
                for piece in answer.push(new):
                    yield piece
                if answer.over:
                    break
        for last in answer.end(len(prompt.tokens)):
            yield last

    async def stop(self) -> None:
        """Let go of the model."""
        if self._decoder is not None:
            await self._decoder.stop()
        self._decoder = None

    async def _tried(self, loaded: Loaded) -> Decoder:
        """Return what can decode with this model: batches, else one answer at a time."""
        told = self._settings
        asked = Asked(tuple(loaded.tokenizer.encode("Hello.")), TRIAL_TOKENS, 0.0)
        batches = Batches(loaded.model, self._ends, batch_size=told.batch_size, cache_tokens=told.cache_tokens)
        try:
            async for _ in batches.tokens(asked):
                pass
        except Exception as error:  # noqa: BLE001 - whatever the library raises for a model that it cannot do this with
            log.warning("this model answers one session at a time", reason=type(error).__name__)
            await batches.stop()
        else:
            return batches
        alone = Alone(loaded.model, self._ends)
        try:
            async for _ in alone.tokens(asked):
                pass
        except EngineError as error:
            raise ConfigurationError(f"language model {told.model} is loaded but cannot write") from error
        return alone


def _temperature(model: Any, told: float | None) -> float:
    own = model.generation_config
    if told is not None:
        return told
    return (own.temperature if own.temperature is not None else 1.0) if own.do_sample else 0.0


def _context(model: Any, told: Settings) -> int:
    own = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return min(told.context_tokens, told.cache_tokens, own or told.context_tokens)
