"""Run the TTS service: `python -m services.tts --engine flite`."""

from bus.main import run_service
from bus.tasks import TaskHandler
from services.tts.engine import Engine
from services.tts.service import Synthesis
from services.tts.settings import TtsSettings


def build(engine: Engine, settings: TtsSettings) -> TaskHandler:
    """Return the handler around *engine*."""
    return TaskHandler(Synthesis(engine, settings, settings.engine))


if __name__ == "__main__":
    run_service("tts", TtsSettings, build)
