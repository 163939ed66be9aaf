"""`python -m services.vad`: the vad service as a process."""

from bus import engines
from bus.main import run_service
from services.vad.engine import Engine
from services.vad.service import VadHandler
from services.vad.settings import END_OF_TURN, NONE, VadSettings


def build(engine: Engine, settings: VadSettings) -> VadHandler:
    """Return the handler around *engine* and the end-of-turn model, if one is asked for."""
    name = settings.end_of_turn
    return VadHandler(engine, None if name == NONE else engines.find(END_OF_TURN, name).Engine(settings))


if __name__ == "__main__":
    run_service("vad", VadSettings, build)
