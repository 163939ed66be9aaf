"""Runs the LLM service: `python -m services.llm --engine NAME`."""

from bus.main import run_service
from bus.serve import Handler
from bus.tasks import TaskHandler
from services.llm.engine import Engine
from services.llm.service import Generation
from services.llm.settings import LlmSettings


def build(engine: Engine, settings: LlmSettings) -> Handler:
    """Return the handler around *engine*."""
    return TaskHandler(Generation(settings.engine, engine))


if __name__ == "__main__":
    run_service("llm", LlmSettings, build)
