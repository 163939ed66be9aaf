"""Loads a language model and its tokenizer for the transformers engine."""

from dataclasses import dataclass
from typing import Any, Final

from bus.errors import ConfigurationError
from services import pretrained
from services.pretrained import Source

REQUIREMENTS: Final = "services/llm/requirements/transformers.txt"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A `PreTrainedModel` that writes, and its tokenizer."""

    model: Any
    tokenizer: Any


async def load(source: Source) -> Loaded:
    """Return the model, loaded in a thread.

    Raises:
        ConfigurationError: see `services.pretrained.load`.
    """
    return await pretrained.load(source, "language", REQUIREMENTS, read)


def read(source: Source, device: str) -> Loaded:
    """Return the model on *device*. Blocks.

    Raises:
        ConfigurationError: it is no language model.
        Exception: whatever transformers raises.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    cache = source.download_root or None
    config = AutoConfig.from_pretrained(source.model, cache_dir=cache)
    if not pretrained.knows(AutoModelForCausalLM, config):
        raise ConfigurationError(f"{source.model} is a {config.model_type} model, which writes no text")
    tokenizer = AutoTokenizer.from_pretrained(source.model, cache_dir=cache)
    return Loaded(pretrained.weights(AutoModelForCausalLM, source, config, device), tokenizer)
