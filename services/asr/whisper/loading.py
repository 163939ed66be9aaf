"""Loads a Whisper for the faster-whisper engine."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from bus.errors import ConfigurationError
from services.asr.whisper.guards import Guards
from services.asr.whisper.model import Model
from services.loading import in_thread, is_folder, not_loadable


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
        raise ConfigurationError(
            "faster-whisper is not installed: pip install -r services/asr/requirements/faster-whisper.txt"
        )
    return await in_thread(lambda: _load(source, guards, beam_size), source.model, source.device, source.download_root)


def _load(source: Source, guards: Guards, beam_size: int) -> Model:
    is_folder(source.model)
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
        raise not_loadable("whisper", source.model, error) from error
    return model
