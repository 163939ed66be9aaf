"""Loads a model in a thread, from a folder or the Hugging Face hub, and says in the log how far it is."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import structlog

from bus.errors import ConfigurationError

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Between lines of the log while a model is loaded.
TELL_S: Final = 5.0
# What of a library's message is repeated: some list every model they know.
MESSAGE_CHARACTERS: Final = 300


async def in_thread(load: Callable[[], T], model: str, device: str, download_root: str = "") -> T:
    """Return what *load* returns, run in a thread; *download_root* is where the hub's files come into, if not its own.

    Raises:
        ConfigurationError: *load*'s own.
        Exception: whatever else *load* raises.
    """
    began = time.monotonic()
    log.info("loading a model", model=model, device=device)
    loading = asyncio.create_task(asyncio.to_thread(load))
    while not loading.done():
        await asyncio.wait({loading}, timeout=TELL_S)
        if not loading.done():
            log.info(
                "still loading",
                model=model,
                seconds=round(time.monotonic() - began),
                downloads_mb=await asyncio.to_thread(_downloads_mb, download_root),
            )
    loaded = loading.result()
    log.info("loaded", model=model, seconds=round(time.monotonic() - began, 1))
    return loaded


def is_folder(model: str) -> bool:
    """Tell whether *model* is a folder rather than a name on the hub.

    Raises:
        ConfigurationError: it is written like a path, and there is no such folder.
    """
    if Path(model).is_dir():
        return True
    if Path(model).is_absolute() or model.startswith((".", "~")):
        raise ConfigurationError(f"there is no model folder {model}: give a folder or a name with --model")
    return False


def not_loadable(kind: str, model: str, error: Exception) -> ConfigurationError:
    """Return what a failed load means, in one line. *kind* says what the model was to be: whisper, language."""
    reason = " ".join(str(error).split())[:MESSAGE_CHARACTERS] or type(error).__name__
    if Path(model).is_dir():
        return ConfigurationError(f"{kind} model folder {model} cannot be loaded: {reason}")
    return ConfigurationError(
        f"{kind} model {model!r} cannot be loaded from the hub; give a local folder with --model: {reason}"
    )


def _downloads_mb(root: str) -> int:
    """Return how much lies in the cache that the hub's files come into."""
    from huggingface_hub.constants import HF_HUB_CACHE

    total = 0
    for path in Path(root or HF_HUB_CACHE).glob("models--*/blobs/*"):
        try:
            total += path.stat().st_size
        except OSError:  # a file that has got its last name meanwhile
            continue
    return total // 1_000_000
