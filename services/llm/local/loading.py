"""Loads a language model and its tokenizer for the transformers engine."""

from dataclasses import dataclass
from importlib.util import find_spec
from logging import getLogger
from typing import Any, Final

import structlog

from bus.errors import ConfigurationError
from services.loading import in_thread, is_folder, not_loadable

log = structlog.get_logger(__name__)

REQUIREMENTS: Final = "services/llm/requirements/transformers.txt"


@dataclass(frozen=True, slots=True)
class Source:
    """Which model, and how it shall run."""

    model: str
    device: str
    dtype: str
    cpu_threads: int
    download_root: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A `PreTrainedModel` that writes, and its tokenizer."""

    model: Any
    tokenizer: Any


async def load(source: Source) -> Loaded:
    """Return the model, loaded in a thread.

    Raises:
        ConfigurationError: a package is not installed, the model is not there, broken, of another kind or too large, or
            the device cannot be used.
    """
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise ConfigurationError(f"{package} is not installed: pip install -r {REQUIREMENTS}")
    return await in_thread(lambda: _load(source), source.model, source.device, source.download_root)


def _load(source: Source) -> Loaded:
    is_folder(source.model)
    from transformers.utils import logging

    # Its own progress bars and advice are no lines of our log; what matters is raised.
    logging.set_verbosity(logging.CRITICAL)
    getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)
    logging.disable_progress_bar()
    device = device_of(source.device)
    try:
        return _read(source, device)
    except ConfigurationError:
        raise
    except Exception as error:  # safetensors, tokenizers and the hub raise many others
        raise not_loadable("language", source.model, error) from error


def _read(source: Source, device: str) -> Loaded:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(source.cpu_threads)
    kept = {"cache_dir": source.download_root or None}
    config = AutoConfig.from_pretrained(source.model, **kept)
    if type(config) not in AutoModelForCausalLM._model_mapping:  # noqa: SLF001 - its own error lists 200 models
        raise ConfigurationError(f"{source.model} is a {config.model_type} model, which writes no text")
    tokenizer = AutoTokenizer.from_pretrained(source.model, **kept)
    model, told = AutoModelForCausalLM.from_pretrained(
        source.model, config=config, dtype=source.dtype, output_loading_info=True, **kept
    )
    missing = len(told["missing_keys"]) + len(told["mismatched_keys"])
    if missing:  # they would be drawn at random
        raise ValueError(f"{missing} of its weights are missing")
    return Loaded(model.to(device).eval(), tokenizer)


def device_of(name: str) -> str:
    """Return the device that *name* (auto, cpu, cuda, cuda:1, mps) means here.

    Raises:
        ConfigurationError: it is not there.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if int(index or 0) >= there[kind]:
        raise ConfigurationError(f"--device {name} is not there; use cpu, or auto")
    return name
