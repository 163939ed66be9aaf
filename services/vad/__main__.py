"""`python -m services.vad`: the vad service as a process."""

from bus.main import run_service
from services.vad.engine import Engine
from services.vad.service import VadHandler
from services.vad.settings import VadSettings


def build(engine: Engine, _: VadSettings) -> VadHandler:
    """Return the handler around *engine*."""
    return VadHandler(engine)


if __name__ == "__main__":
    run_service("vad", VadSettings, build)
