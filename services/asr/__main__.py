"""Runs the ASR service: `python -m services.asr --engine NAME`."""

from bus.main import run_service
from bus.serve import Handler
from bus.tasks import TaskHandler
from services.asr.engine import Engine
from services.asr.service import Recognition
from services.asr.settings import AsrSettings


def build(engine: Engine, settings: AsrSettings) -> Handler:
    """Return the handler around *engine*."""
    return TaskHandler(Recognition(settings.engine, engine))


if __name__ == "__main__":
    run_service("asr", AsrSettings, build)
