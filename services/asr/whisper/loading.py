"""Loads a model for the engine, from a folder or the Hugging Face hub, and says in the log how far it is."""

import asyncio
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import structlog

from bus.errors import ConfigurationError
from services.asr.whisper.guards import Guards
from services.asr.whisper.model import Model

log = structlog.get_logger(__name__)

# Between lines of the log while a model is loaded.
TELL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Source:
    """Which model, and how it shall run: what `faster_whisper.WhisperModel` takes."""

    model: str
    device: str = "auto"
    compute_type: str = "auto"
    cpu_threads: int = 0
    download_root: str = ""


async def load(source: Source, guards: Guards, beam_size: int) -> Model:
    """Return the model, loaded in a thread and warmed up.

    Raises:
        ConfigurationError: the package is not installed, the model is not there or broken, the device cannot be used.
    """
    if find_spec("faster_whisper") is None:
        raise ConfigurationError("faster-whisper is not installed: pip install faster-whisper")
    began = time.monotonic()
    log.info("loading a whisper model", model=source.model, device=source.device)
    loading = asyncio.create_task(asyncio.to_thread(_load, source, guards, beam_size))
    while not loading.done():
        await asyncio.wait({loading}, timeout=TELL_S)
        if not loading.done():
            log.info(
                "still loading",
                model=source.model,
                seconds=round(time.monotonic() - began),
                downloads_mb=await asyncio.to_thread(_downloads_mb, source.download_root),
            )
    model = loading.result()
    log.info("loaded", model=source.model, seconds=round(time.monotonic() - began, 1))
    return model


def _load(source: Source, guards: Guards, beam_size: int) -> Model:
    is_folder = Path(source.model).is_dir()
    if not is_folder and (Path(source.model).is_absolute() or source.model.startswith((".", "~"))):
        raise ConfigurationError(f"there is no model folder {source.model}: give a folder or a name with --model")
    try:
        from faster_whisper import WhisperModel

        whisper: Any = WhisperModel(
            source.model,
            device=source.device,
            compute_type=source.compute_type,
            cpu_threads=source.cpu_threads,
            download_root=source.download_root or None,
        )
        model = Model(whisper, guards, beam_size)
        model.warm_up()
    except Exception as error:  # tokenizers raises a bare Exception, CTranslate2 and the hub many others
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = (
            f"whisper model folder {source.model} cannot be loaded"
            if is_folder
            else f"whisper model {source.model!r} cannot be loaded from the hub; give a local folder with --model"
        )
        raise ConfigurationError(f"{remedy}: {reason}") from error
    return model


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
