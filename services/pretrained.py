"""What every engine on transformers does to get its model."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from logging import CRITICAL, getLogger
from typing import Any, TypeVar

from bus.errors import ConfigurationError
from services.loading import in_thread, is_folder, not_loadable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source:
    """Which model, and how it shall run."""

    model: str
    """A folder, or a name on the hub."""
    device: str
    """auto, cpu, mps, cuda or cuda:1."""
    dtype: str
    """Of the weights; auto: as they are stored."""
    cpu_threads: int
    download_root: str = ""
    """Where the hub's files come into; empty: the hub's own cache."""


async def load(source: Source, kind: str, requirements: str, read: Callable[[Source, str], T]) -> T:
    """Return what *read* makes of *source* and the device that it means here, in a thread.

    *kind* says what the model is to be (speech, language), *requirements* names the file to install.

    Raises:
        ConfigurationError: a package is not installed, the model is not there, broken, of another kind or too large, or
            the device is not there. One line.
    """
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise ConfigurationError(f"{package} is not installed: pip install -r {requirements}")

    def begin() -> T:
        is_folder(source.model)
        _set_up(source.cpu_threads)
        device = device_of(source.device)
        try:
            return read(source, device)
        except ConfigurationError:
            raise
        except Exception as error:  # safetensors, tokenizers, torch and the hub raise many others
            raise not_loadable(kind, source.model, error) from error

    return await in_thread(begin, source.model, source.device, source.download_root)


def weights(auto: Any, source: Source, config: Any, device: str) -> Any:
    """Return the model that *auto* (an Auto class of transformers') makes of *config* and the source's weights.

    Raises:
        ValueError: some weights are missing or have another shape; they would be drawn at random.
        Exception: whatever the libraries raise.
    """
    model, told = auto.from_pretrained(
        source.model,
        config=config,
        dtype=source.dtype,
        cache_dir=source.download_root or None,
        output_loading_info=True,
    )
    missing = len(told["missing_keys"]) + len(told["mismatched_keys"])
    if missing:
        raise ValueError(f"{missing} of its weights are missing")
    return model.to(device).eval()


def knows(auto: Any, config: Any) -> bool:
    """Tell whether *auto* makes models of such a *config*. Asked, because its own error lists some hundred models."""
    return type(config) in auto._model_mapping  # noqa: SLF001 - there is no public way


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


def _set_up(threads: int) -> None:
    import torch
    from transformers.utils import logging

    torch.set_num_threads(threads)
    # Progress bars and advice are no lines of our log; what matters is raised.
    logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()
    getLogger("ContinuousBatchingLogger").setLevel(CRITICAL)
