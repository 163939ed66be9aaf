"""Loads for an hour."""

import time

from tests.bus.parrot.engines.echo import Engine as Echo
from tests.bus.parrot.engines.echo import Settings

__all__ = ["Engine", "Settings"]


class Engine(Echo):
    """Waits."""

    def load(self) -> None:
        """Wait in a thread that nobody can end."""
        time.sleep(3600)
